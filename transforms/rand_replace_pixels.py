"""Masked-pixel regression: some pixels become noise, and the network says what they were [umapathy2022].

A share of the pixels, drawn one by one, is replaced by Gaussian noise. The loss is taken at these pixels
alone (:class:`~siamed.networks.losses.masked.MaskedLoss`), so that handing the input through earns nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform, Randomizable

__all__ = ["RandReplacePixelsd", "replace_pixels"]


def replace_pixels(image: torch.Tensor, where: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The image with other values where a mask says so.

    Args:
        image: ``(C, ...)``.
        where: bool, of the image's shape, or ``(1, ...)`` for all channels alike.
        noise: of the image's shape.

    Returns:
        A new tensor of the image's shape.
    """
    return torch.where(where, noise, image)


class RandReplacePixelsd(MapTransform, Randomizable):
    """Replace a share of an image's pixels by Gaussian noise, and keep what they were.

    Args:
        keys: the image's key, then the key for what is to be learned: the image as it was and, behind it
            along the channels, 1 where a pixel was replaced and 0 elsewhere.
        share: of the pixels, in (0, 1).
        mean: of the noise, in the image's units.
        std: its standard deviation.

    Shape:
        - image ``(C, ...)`` in and out; target ``(C + 1, ...)`` float32.

    Randomness: which pixels, and the noise, from one seed that is drawn with ``self.R``.
    """

    def __init__(self, keys: tuple[Hashable, Hashable], share: float, mean: float, std: float) -> None:
        MapTransform.__init__(self, keys)
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        if not std > 0:
            raise ValueError(f"std must be above 0, got {std}")
        self.share, self.mean, self.std = float(share), float(mean), float(std)

    def draw(self, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which pixels of an image ``(C, ...)`` are replaced, ``(1, ...)``, and by what, ``(C, ...)``."""
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31 - 1)))
        where = torch.rand((1, *shape[1:]), generator=generator) < self.share
        return where, self.mean + self.std * torch.randn(shape, generator=generator)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = torch.as_tensor(result[key]).float()
        where, noise = self.draw(tuple(image.shape))
        result[target] = torch.cat([image, where.to(image.dtype)])
        result[key] = replace_pixels(image, where, noise)
        return result

"""Offset in the plane: how far is one patch beside another one? [blendowski2019learn, Sec. 2.2]

Two patches of three neighboring slices each, some slices apart, are cut so that the second lies beside the
first by an offset in the plane. The target is a heatmap, a Gaussian whose place in a small picture is the
offset; or the two numbers themselves, which the authors found to be learned less well.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable

__all__ = ["OffsetPair", "RandOffsetPatchesd", "cut_patches", "gaussian_heatmap", "heatmap_center"]


@dataclass(frozen=True)
class OffsetPair:
    """Two patches of a volume.

    Args:
        reference: middle slice and first pixel of the first patch (D, H, W).
        query: the same of the second.
    """

    reference: tuple[int, int, int]
    query: tuple[int, int, int]

    @property
    def offset(self) -> tuple[int, int]:
        """Rows and columns from the first patch to the second."""
        return self.query[1] - self.reference[1], self.query[2] - self.reference[2]


def cut_patches(image: torch.Tensor, pair: OffsetPair, patch: Sequence[int]) -> torch.Tensor:
    """The two patches, three slices each as channels.

    Args:
        image: ``(1, D, H, W)``.
        pair: where.
        patch: rows and columns.

    Returns:
        ``(6, *patch)``: the first patch's slices, then the second's.
    """
    found = [
        image[0, k - 1 : k + 2, y : y + patch[0], x : x + patch[1]]
        for k, y, x in (pair.reference, pair.query)
    ]
    return torch.cat(found)


def heatmap_center(offset: Sequence[float], largest: float, size: Sequence[int]) -> tuple[float, float]:
    """Where an offset lies in a heatmap, in its pixels: 0 in the middle, ``largest`` at the border pixels'
    centers.

    ``center = (size - 1) / 2 * (1 + offset / largest)``, for each axis.
    """
    rows, columns = ((n - 1) / 2 * (1 + o / largest) for o, n in zip(offset, size, strict=True))
    return rows, columns


def gaussian_heatmap(center: Sequence[float], size: Sequence[int], sigma: float) -> torch.Tensor:
    """``exp(-|x - center|^2 / (2 sigma^2))`` at each pixel.

    Args:
        center: row and column, in pixels; need not be whole.
        size: rows and columns.
        sigma: in pixels.

    Returns:
        ``(1, *size)`` float32, at most 1.
    """
    rows, columns = (torch.arange(n, dtype=torch.float32) - c for n, c in zip(size, center, strict=True))
    return torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * sigma**2))[None]


class RandOffsetPatchesd(MapTransform, Randomizable):
    """Cut two patches with an offset that is to be learned.

    Args:
        keys: the image's key, then the key for the target.
        patch: rows and columns of a patch, in pixels.
        distance: slices between the middle slices of the two, at least 3, so that they share none.
        largest: largest offset along rows and along columns, in pixels.
        heatmap: rows and columns of the target heatmap; None: the target is the offset itself.
        sigma: of the Gaussian, in pixels of the heatmap.

    Shape:
        - image ``(1, D, H, W)``, slices along D, to ``(6, *patch)``;
        - target ``(1, *heatmap)`` float32, or ``(2,)`` float32: the offset as a share of ``largest``.

    Raises:
        ValueError: if a setting is impossible; in a call, if the volume is too small.

    Randomness: the patches' places, evenly, with ``self.R``; the second is above or below the first alike.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        patch: Sequence[int],
        distance: int,
        largest: int,
        heatmap: Sequence[int] | None,
        sigma: float,
    ) -> None:
        MapTransform.__init__(self, keys)
        if distance < 3:
            raise ValueError(f"distance must be at least 3 slices, got {distance}")
        if largest < 1 or not sigma > 0:
            raise ValueError(f"largest must be at least 1 and sigma above 0, got {largest} and {sigma}")
        self.patch, self.distance, self.largest = tuple(map(int, patch)), int(distance), int(largest)
        self.heatmap, self.sigma = None if heatmap is None else tuple(map(int, heatmap)), float(sigma)

    def draw(self, shape: Sequence[int]) -> OffsetPair:
        """Draw two patches of a volume ``(D, H, W)``."""
        depth, *plane = shape
        room = [n - p - 2 * self.largest for n, p in zip(plane, self.patch, strict=True)]
        if depth < self.distance + 3 or min(room) < 0:
            raise ValueError(
                f"image must have at least {self.distance + 3} slices of "
                f"{[p + 2 * self.largest for p in self.patch]} pixels, got {tuple(shape)}"
            )
        low = int(self.R.randint(1, depth - 1 - self.distance))
        slices = (low, low + self.distance) if self.R.randint(2) else (low + self.distance, low)
        first = [self.largest + int(self.R.randint(r + 1)) for r in room]
        offset = [int(self.R.randint(-self.largest, self.largest + 1)) for _ in first]
        second = [f + o for f, o in zip(first, offset, strict=True)]
        return OffsetPair((slices[0], first[0], first[1]), (slices[1], second[0], second[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = torch.as_tensor(result[key]).as_subclass(torch.Tensor)
        pair = self.draw(image.shape[1:])
        result[key] = cut_patches(image, pair, self.patch).contiguous()
        result[target] = self.target(pair.offset)
        return result

    def target(self, offset: Sequence[float]) -> torch.Tensor:
        """What is to be learned of an offset."""
        if self.heatmap is None:
            return torch.from_numpy(np.asarray(offset, np.float32) / self.largest)
        center = heatmap_center(offset, self.largest, self.heatmap)
        return gaussian_heatmap(center, self.heatmap, self.sigma)

"""Slices as channels: how a 2-D network sees a slab of neighboring slices ("pseudo-3-D",
[blendowski2019learn, Sec. 2.2])."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

__all__ = ["SlicesAsChannelsd"]


class SlicesAsChannelsd(MapTransform):
    """Put the slices of a slab among its channels.

    Args:
        keys: of images.

    Shape:
        - ``(C, D, H, W)`` to ``(C * D, H, W)``, the slices of the first channel first; a plain tensor, for
          without the slices' axis an affine means nothing.

    Deterministic.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            image = torch.as_tensor(result[key]).as_subclass(torch.Tensor)
            if image.ndim != 4:
                raise ValueError(f"{key} must be (C, D, H, W), got {tuple(image.shape)}")
            result[key] = image.flatten(0, 1).contiguous()
        return result

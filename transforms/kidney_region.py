"""The fixed region around one kidney that the side proxy sees, and nothing else [dhere2021, Sec. 2].

The network must tell sides by shape and texture; everything outside the kidney's mask is therefore replaced,
so that neither the place in the body nor a neighbor speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from monai.data import MetaTensor
from monai.transforms import BorderPad, SpatialCrop

__all__ = ["kidney_region", "region_around"]


def kidney_region(
    image: MetaTensor, mask: torch.Tensor, size: Sequence[int], outside: float
) -> tuple[MetaTensor, float]:
    """Cut the region around a kidney, the middle of its bounding box in the middle. Deterministic.

    Args:
        image: ``(C, D, H, W)``.
        mask: ``(1, D, H, W)``, not 0 in this kidney.
        size: voxels of the region (64, 112, 112 in the paper).
        outside: intensity of every voxel that is not the kidney's.

    Returns:
        The region ``(C, *size)`` with its place in the world, and the share of the kidney inside it.

    Raises:
        ValueError: if the mask is empty, or of another shape than the image.
    """
    if tuple(mask.shape) != (1, *image.shape[1:]):
        raise ValueError(f"mask must be {[1, *image.shape[1:]]}, got {list(mask.shape)}")
    inside = torch.as_tensor(mask).as_subclass(torch.Tensor) != 0
    found = inside[0].nonzero()
    if not len(found):
        raise ValueError("mask must hold a kidney, it is empty")
    middle = (found.amin(0) + found.amax(0) + 1) // 2
    kept = cast(MetaTensor, torch.where(inside, image, torch.full_like(image, outside)))
    region, start = region_around(kept, middle.tolist(), size, outside)
    stop = torch.tensor(start) + torch.tensor(list(size))
    held = float(((found >= torch.tensor(start)) & (found < stop)).all(1).float().mean())
    return region, held


def region_around(
    image: MetaTensor, middle: Sequence[int], size: Sequence[int], outside: float
) -> tuple[MetaTensor, list[int]]:
    """Cut the region around a voxel. Deterministic.

    Args:
        image: ``(C, D, H, W)``.
        middle: index (d, h, w) of the voxel, which may lie outside.
        size: voxels of the region.
        outside: intensity beyond the ends of the image.

    Returns:
        The region ``(C, *size)`` with its place in the world, and the index of its first voxel in the image.
    """
    start = torch.tensor([int(m) - int(n) // 2 for m, n in zip(middle, size, strict=True)])
    stop = start + torch.tensor(list(size))
    border = torch.maximum(-start, stop - torch.tensor(image.shape[1:])).clamp(min=0)
    around = [int(n) for n in border]
    padded = BorderPad([n for n in around for _ in range(2)], value=outside)(image)
    region = SpatialCrop(roi_start=start + border, roi_end=stop + border)(padded)
    return cast(MetaTensor, region), [int(n) for n in start]

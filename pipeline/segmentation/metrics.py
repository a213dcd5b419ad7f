"""How far a segmentation is right. Contract: masks ``(I, J, K)`` of one structure, spacing in mm.

Dice
    ``2 |P and G| / (|P| + |G|)``; 1 where both are empty, 0 where one is.
Hausdorff distance, mm
    largest distance of a surface voxel of either to the nearest one of the other; with ``percentile`` 95 that
    quantile of each direction, the larger of the two. Infinite where one is empty, 0 where both are.
surface Dice
    share of both surfaces within ``tolerance_mm`` of the other one.
boundary-length difference, % [dhere2021, Sec. 3.3]
    ``100 |B(P) - B(G)| / B(G)`` with B the sum over axial slices of the perimeters of the structure's
    outlines, the paper's BL as far as its text says. nan where G is empty.
volume, ml
    voxels times their size.

Distances are MONAI's, perimeters scikit-image's (4-connected outlines, in pixels: slices of square pixels).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from skimage.measure import perimeter

__all__ = ["boundary_difference", "boundary_length", "dice", "hausdorff_mm", "surface_dice", "volume_ml"]


def dice(pred: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two masks."""
    pred, truth = np.asarray(pred) != 0, np.asarray(truth) != 0
    both = int(pred.sum()) + int(truth.sum())
    return 1.0 if both == 0 else 2 * int((pred & truth).sum()) / both


def volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Volume of a mask."""
    return float(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000


def hausdorff_mm(
    pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], percentile: float | None = None
) -> float:
    """Hausdorff distance of two masks.

    Args:
        pred: mask.
        truth: mask.
        spacing_mm: along the three axes.
        percentile: of the distances, such as 95; None for the largest.
    """
    empty = [not np.any(mask) for mask in (pred, truth)]
    if any(empty):
        return 0.0 if all(empty) else float("inf")
    one, other, spacing = _cropped(pred, truth, spacing_mm)
    found = compute_hausdorff_distance(
        one, other, include_background=True, percentile=percentile, spacing=spacing
    )
    return float(found[0, 0])


def surface_dice(
    pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> float:
    """Surface Dice of two masks; 1 where both are empty, 0 where one is."""
    empty = [not np.any(mask) for mask in (pred, truth)]
    if any(empty):
        return float(all(empty))
    one, other, spacing = _cropped(pred, truth, spacing_mm)
    found = compute_surface_dice(one, other, [tolerance_mm], include_background=True, spacing=spacing)
    return float(found[0, 0])


def _cropped(
    pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Both masks ``(1, 1, I, J, K)`` within their common box and a voxel around it: what lies farther has no
    surface, and distance maps of whole scans take minutes."""
    masks = [np.asarray(mask) != 0 for mask in (pred, truth)]
    places = np.argwhere(masks[0] | masks[1])
    low = np.maximum(places.min(0) - 1, 0)
    box = tuple(slice(a, b) for a, b in zip(low, places.max(0) + 2, strict=True))
    one, other = (torch.from_numpy(mask[box].astype(np.float32))[None, None] for mask in masks)
    return one, other, [float(s) for s in spacing_mm]


def boundary_length(mask: np.ndarray, axis: int) -> float:
    """Perimeters of the outlines in all slices across an axis, summed, in pixels."""
    return float(sum(perimeter(piece != 0, 4) for piece in np.moveaxis(np.asarray(mask), axis, 0)))


def boundary_difference(pred: np.ndarray, truth: np.ndarray, axis: int) -> float:
    """Difference of boundary lengths in % of the true one.

    Args:
        pred: mask.
        truth: mask.
        axis: across which the slices lie: from foot to head.
    """
    true = boundary_length(truth, axis)
    return 100 * abs(boundary_length(pred, axis) - true) / true if true else float("nan")

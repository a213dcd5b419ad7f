"""From the probability of kidney to the right and the left one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from siamed.transforms.split_kidneys import (
    LEFT,
    RIGHT,
    KidneySplit,
    bounding_box,
    cut_sides,
    split_kidneys,
)

__all__ = ["kidneys_of"]

_NEIGHBORS = ndimage.generate_binary_structure(3, 3)


def kidneys_of(
    probability: np.ndarray,
    affine: np.ndarray,
    midline_mm: float | None = None,
    threshold: float = 0.5,
    largest: bool = True,
) -> KidneySplit:
    """Label the kidneys that a network sees.

    Args:
        probability: ``(I, J, K)``.
        affine: 4x4, voxel index to RAS+ mm.
        midline_mm: see :func:`~siamed.transforms.split_kidneys.split_kidneys`.
        threshold: from which on a voxel is kidney.
        largest: keep the largest component of each side alone.
    """
    split = split_kidneys(np.asarray(probability) >= threshold, affine, midline_mm)
    if not largest:
        return split
    for side in (RIGHT, LEFT):
        own = split.labels == side
        if not own.any():
            continue
        inner = split.labels[bounding_box(own)]
        parts, count = ndimage.label(inner == side, _NEIGHBORS)
        if count > 1:
            biggest = np.bincount(parts.ravel())[1:].argmax() + 1
            inner[(parts > 0) & (parts != biggest)] = 0
    # What was scattered at the end of the scan does not cut a kidney.
    return replace(split, cut=cut_sides(split.labels))

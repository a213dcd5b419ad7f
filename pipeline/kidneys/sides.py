"""From the probability of kidney to the right and the left one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from siamed.transforms.split_kidneys import (
    LEFT,
    RIGHT,
    KidneySplit,
    body_midline,
    bounding_box,
    cut_sides,
    split_kidneys,
)

__all__ = ["kidneys_of", "midline_of"]

_AIR_HU, _SKIN_HU = -500.0, -300.0
_ENOUGH_VOXELS = 2_000_000
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


def midline_of(image: np.ndarray, affine: np.ndarray) -> float:
    """The body's midline, x in RAS+ mm, in a CT or an MR scan.

    Air is below -300 HU where there are Hounsfield units at all, which intensities below -500 tell; in MR it
    is below a tenth of the brightest hundredth.

    Args:
        image: ``(I, J, K)``.
        affine: 4x4, voxel index to RAS+ mm.
    """
    image = np.asarray(image)
    # Sides need no fine grid: of a long scan every n-th voxel.
    step = max(1, round((image.size / _ENOUGH_VOXELS) ** (1 / 3)))
    image = image[::step, ::step, ::step]
    affine = np.asarray(affine, float) @ np.diag([step, step, step, 1.0])
    hounsfield = float(image.min()) < _AIR_HU
    return body_midline(image, affine, _SKIN_HU if hounsfield else 0.1 * float(np.percentile(image, 99)))

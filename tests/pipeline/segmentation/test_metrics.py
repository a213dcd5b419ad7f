"""Segmentation metrics by hand, in millimeters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siamed.pipeline.segmentation.metrics import (
    boundary_difference,
    boundary_length,
    dice,
    hausdorff_mm,
    surface_dice,
    volume_ml,
)

SPACING = (5.0, 2.0, 3.0)
EMPTY = np.zeros((8, 20, 20), bool)


def box(first: int = 4, last: int = 10) -> np.ndarray:
    mask = EMPTY.copy()
    mask[2:5, 4:10, first:last] = True
    return mask


def test_dice_and_volume() -> None:
    # 3 x 6 x 6 voxels, moved by two along the last axis: two thirds of either are shared.
    assert dice(box(), box(6, 12)) == pytest.approx(2 * 72 / 216)
    assert dice(box(), box()) == 1.0
    assert dice(EMPTY, EMPTY) == 1.0
    assert dice(EMPTY, box()) == 0.0
    assert volume_ml(box(), SPACING) == pytest.approx(108 * 30 / 1000)


def test_distances_are_in_millimeters_along_each_axis() -> None:
    assert hausdorff_mm(box(6, 12), box(), SPACING) == pytest.approx(2 * 3.0)
    assert hausdorff_mm(box(), np.roll(box(), 1, 0), SPACING) == pytest.approx(5.0)
    one = box()
    one[4, 9, 15] = True  # a voxel 6 beyond the box
    assert hausdorff_mm(one, box(), SPACING) == pytest.approx(6 * 3.0)
    assert hausdorff_mm(one, box(), SPACING, 95) == pytest.approx(0.0)
    assert hausdorff_mm(box(), box(), SPACING) == 0.0
    assert hausdorff_mm(EMPTY, EMPTY, SPACING) == 0.0
    assert math.isinf(hausdorff_mm(EMPTY, box(), SPACING))


def test_surfaces_within_a_tolerance() -> None:
    moved = np.roll(box(), 1, 2)  # 3 mm
    assert surface_dice(moved, box(), SPACING, 3.0) == pytest.approx(1.0)
    assert 0 < surface_dice(moved, box(), SPACING, 1.0) < 1
    assert surface_dice(EMPTY, EMPTY, SPACING, 1.0) == 1.0
    assert surface_dice(EMPTY, box(), SPACING, 1.0) == 0.0


def test_lengths_of_outlines() -> None:
    # Through the middles of the outer voxels of 6 x 6: 4 x 5 pixels, in three slices.
    assert boundary_length(box(), 0) == pytest.approx(3 * 20)
    # 6 x 8 voxels: 2 x (5 + 7).
    assert boundary_difference(box(4, 12), box(), 0) == pytest.approx(100 * (24 - 20) / 20)
    assert math.isnan(boundary_difference(box(), EMPTY, 0))

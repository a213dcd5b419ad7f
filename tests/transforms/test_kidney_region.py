"""The region around a kidney: where it lies, what is in it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from siamed.transforms.kidney_region import kidney_region


def scan() -> MetaTensor:
    """Each voxel a value of its own."""
    values = torch.arange(1, 6 * 7 * 8 + 1).float().reshape(1, 6, 7, 8)
    return MetaTensor(values, affine=torch.tensor(np.diag([2.0, 3.0, 4.0, 1.0])))


def test_the_kidney_lies_in_the_middle_and_everything_else_is_gone() -> None:
    image, mask = scan(), torch.zeros(1, 6, 7, 8)
    mask[0, 0:2, 1:3, 6:8] = 1  # at a corner: the region reaches beyond the scan
    region, share = kidney_region(image, mask, (4, 4, 6), -9.0)
    assert tuple(region.shape) == (1, 4, 4, 6)
    assert share == 1.0
    inside = torch.zeros(4, 4, 6, dtype=torch.bool)
    inside[1:3, 1:3, 2:4] = True
    assert bool((region[0][~inside] == -9).all())
    assert torch.equal(region[0, 1:3, 1:3, 2:4].as_tensor(), image[0, 0:2, 1:3, 6:8].as_tensor())
    # The voxel that was (0, 1, 6) has kept its place in the world.
    place = region.affine @ torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    assert place[:3].tolist() == [0.0, 3.0, 24.0]


def test_what_a_small_region_leaves_out_is_said() -> None:
    mask = torch.zeros(1, 6, 7, 8)
    mask[0, 0:6, 2, 2] = 1
    region, share = kidney_region(scan(), mask, (4, 2, 2), 0.0)
    assert share == pytest.approx(4 / 6)
    assert int((region != 0).sum()) == 4


def test_an_empty_or_foreign_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="mask must hold a kidney, it is empty"):
        kidney_region(scan(), torch.zeros(1, 6, 7, 8), (4, 4, 4), 0.0)
    with pytest.raises(ValueError, match=r"mask must be \[1, 6, 7, 8\], got \[1, 6, 7, 7\]"):
        kidney_region(scan(), torch.zeros(1, 6, 7, 7), (4, 4, 4), 0.0)

"""Slices as channels: the same voxels in another order of axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from siamed.transforms.slices_as_channels import SlicesAsChannelsd


def test_slices_of_the_first_channel_come_first() -> None:
    slab = torch.tensor([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]).view(2, 3, 1, 1).expand(2, 3, 4, 5)
    done = SlicesAsChannelsd("image")({"image": slab})["image"]
    assert done.shape == (6, 4, 5)
    assert done[:, 0, 0].tolist() == [10, 11, 12, 20, 21, 22]
    assert done.is_contiguous()


def test_no_voxel_moves_within_its_slice() -> None:
    slab = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    before = slab.clone()
    done = SlicesAsChannelsd("image")({"image": slab})["image"]
    assert torch.equal(done.unflatten(0, (1, 3)), before)
    assert torch.equal(slab, before)


def test_a_tensor_without_the_axis_of_slices_has_no_affine() -> None:
    slab = MetaTensor(torch.zeros(1, 3, 4, 4), affine=np.diag([5.0, 1.0, 1.0, 1.0]))
    assert type(SlicesAsChannelsd("image")({"image": slab})["image"]) is torch.Tensor


def test_the_keys_are_changed_and_nothing_else() -> None:
    data = {"image": torch.zeros(1, 3, 4, 4), "label": torch.ones(1, 3, 4, 4), "weight": torch.zeros(2)}
    done = SlicesAsChannelsd(["image", "label"])(data)
    assert done["image"].shape == done["label"].shape == (3, 4, 4)
    assert done["weight"] is data["weight"]
    assert data["image"].shape == (1, 3, 4, 4)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 3, 4, 4)])
def test_another_number_of_axes_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"image must be \(C, D, H, W\), got \({shape[0]}, {shape[1]}, "):
        SlicesAsChannelsd("image")({"image": torch.zeros(shape)})

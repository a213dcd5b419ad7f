"""Several views of one image: each drawn anew, all of the same image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandFlipd, RandGaussianNoised, RandShiftIntensityd, RandSpatialCropd

from siamed.transforms.rand_views import RandViewsd

SHIFT = RandShiftIntensityd("image", (0.0, 100.0), prob=1.0)


def slab(channels: int = 2) -> MetaTensor:
    noise = torch.randn(channels, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return MetaTensor(noise, affine=np.diag([-2.0, -1.0, -1.0, 1.0]))


def test_the_seed_decides_and_the_source_stays() -> None:
    noise = RandGaussianNoised("image", prob=0.8, std=0.2)
    transform, source = RandViewsd("image", [SHIFT, noise, RandFlipd("image", 0.5, 2)]), slab()
    before, results = source.clone(), []
    for seed in (3, 3, 4):
        transform.set_random_state(seed=seed)
        results.append([transform({"image": source})["image"] for _ in range(3)])
    first, again, other = results
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(source, before)


def test_no_two_views_are_alike_in_an_item_or_between_items() -> None:
    transform = RandViewsd("image", [SHIFT]).set_random_state(seed=0)
    shifts = [
        float(view.mean() - slab().mean())
        for _ in range(10)
        for view in transform({"image": slab()})["image"].split(2)
    ]
    assert len({round(shift, 3) for shift in shifts}) == 20
    assert min(shifts) > 0
    assert max(shifts) < 100


@pytest.mark.parametrize("views", [2, 3])
def test_views_are_stacked_one_behind_the_other(views: int) -> None:
    source = slab()
    done = RandViewsd("image", [SHIFT], views).set_random_state(seed=1)({"image": source})["image"]
    assert done.shape == (2 * views, 3, 6, 8)
    assert type(done) is torch.Tensor
    for view in done.unflatten(0, (views, 2)):  # the channels of a view were drawn together
        gap = view - source.as_tensor()
        torch.testing.assert_close(gap, gap[:1, :1, :1, :1].expand_as(gap), atol=1e-4, rtol=0)


def test_without_transforms_the_views_are_the_image() -> None:
    source = slab()
    done = RandViewsd("image", [])({"image": source})["image"]
    assert torch.equal(done, torch.cat([source, source]).as_tensor())


def test_other_entries_are_left_alone() -> None:
    label = torch.tensor(3)
    done = RandViewsd("image", [SHIFT])({"image": slab(), "label": label, "case_id": "a"})
    assert done["label"] is label
    assert done["case_id"] == "a"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"keys": ["image", "label"]}, r"keys must be one key, got \['image', 'label'\]"),
        ({"views": 1}, "views must be at least 2, got 1"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RandViewsd(**{"keys": "image", "transforms": [SHIFT], **change})


def test_views_of_several_shapes_are_named() -> None:
    crop = RandSpatialCropd("image", (1, 2, 2), random_size=True)
    with pytest.raises(ValueError, match=r"transforms must keep the shape of image, they gave \[\(2, "):
        RandViewsd("image", [crop], views=8).set_random_state(seed=0)({"image": slab()})

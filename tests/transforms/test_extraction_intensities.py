"""Extracted volumes are normalized by the bodies beside them."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from toy.oriented_scan import make_affine, painted, pair

from siamed.transforms import (
    ExtractDisc,
    ExtractVertebralBody,
)


def test_the_pooled_median_of_both_bodies_becomes_one_half_in_each_slice():
    image, upper, lower, _ = painted()
    out = ExtractDisc()(image, upper, lower)
    # More pixels hold 80 than 40: the median is 80 (k + 1) in slice k. Front of the disc 100 / 160, behind
    # 200 / 160 clipped; the upper body 40 / 160.
    assert out.meta["reference_median"][0].tolist() == [80 * (k + 1) for k in range(1, 10)]
    for index in range(9):
        assert out[0, index, 55, 60].item() == pytest.approx(0.625, abs=1e-5)
        assert out[0, index, 55, 160].item() == 1.0
        assert out[0, index, 5, 111].item() == pytest.approx(0.25, abs=1e-5)
    assert not out.meta["reference_fallback"].any()


def test_a_body_is_normalized_by_its_references_not_by_itself():
    image, upper, lower, _ = painted()
    out = ExtractVertebralBody()(image, upper, reference_corners_mm=[lower])
    assert out[0, 4, 112, 112].item() == pytest.approx(0.25, abs=1e-5)
    own = ExtractVertebralBody()(image, upper)
    assert own[0, 4, 112, 112].item() == pytest.approx(0.5, abs=1e-5)


def test_slices_without_corners_take_the_whole_volumes_median_and_say_so(caplog):
    image, upper, lower, affine = painted()
    by_slice = [{k: c + (k - 5) * affine[:3, 0] for k in (4, 5, 6)} for c in (upper, lower)]
    out = ExtractDisc()(image, *by_slice)
    # Slices 4, 5, 6 hold medians 400, 480, 560; pooled, values 200, 240, 280, 400, 480, 560 with weights of
    # about 20 for each of the first three and 28 for the others: the middle of 144 is at 72, inside 400 (60
    # to 88).
    assert out.meta["reference_median"][0].tolist() == [400, 400, 400, 400, 480, 560, 400, 400, 400]
    assert out.meta["reference_fallback"].tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert "no usable reference pixels in slices [0, 1, 2, 6, 7, 8]" in caplog.text


def test_a_scan_without_any_signal_is_refused():
    affine = make_affine()
    empty = MetaTensor(torch.zeros(1, 3, 160, 160), affine=torch.from_numpy(affine))
    with pytest.raises(ValueError, match="must hold a positive intensity"):
        ExtractDisc()(empty, *pair(affine, 1))

"""Sides by place in the patient: an asymmetric phantom in any orientation, and every outcome by name."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from siamed.transforms.split_kidneys import LEFT, RIGHT, SplitKidneysd, body_midline, split_kidneys

SPACING = (3.0, 3.0, 4.0)


def phantom(right: bool = True, left: bool = True, bridge: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A mask in RAS, 60 x 40 x 30 voxels of 3 x 3 x 4 mm: the right kidney is smaller and lies lower.

    x grows to the patient's right: the right kidney has the larger first index.
    """
    mask = np.zeros((60, 40, 30), np.uint8)
    if right:
        mask[40:50, 10:20, 4:16] = 1
    if left:
        mask[6:18, 10:20, 10:26] = 1
    if bridge:
        mask[16:42, 12:18, 11:15] = 1
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-80.0, 12.0, 300.0]
    return mask, affine


def turned(array: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.Nifti1Image(array, affine)
    wanted = nibabel.orientations.axcodes2ornt(codes)
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted))
    return np.asarray(image.dataobj), np.asarray(image.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "IPL", "SAR", "AIL"])
def test_the_answer_is_the_same_in_the_world_whatever_the_axes(codes: str) -> None:
    mask, affine = phantom()
    split = split_kidneys(*turned(mask, affine, codes))
    assert split.outcome == "two_kidneys"
    back, _ = turned(split.labels, turned(mask, affine, codes)[1], "RAS")
    assert set(np.unique(back[40:50, 10:20, 4:16])) == {RIGHT}
    assert set(np.unique(back[6:18, 10:20, 10:26])) == {LEFT}
    assert int((back == RIGHT).sum()) == 10 * 10 * 12
    assert int((back == LEFT).sum()) == 12 * 10 * 16
    # Midway between the middles of both: voxels 44.5 and 11.5 along x.
    assert split.midline_mm == pytest.approx(-80 + 3 * (44.5 + 11.5) / 2)


def test_a_mirrored_patient_has_the_labels_swapped() -> None:
    mask, affine = phantom()
    mirrored = affine @ np.diag([-1.0, 1, 1, 1])
    one, other = split_kidneys(mask, affine).labels, split_kidneys(mask, mirrored).labels
    assert np.array_equal(one == RIGHT, other == LEFT)
    assert np.array_equal(one == LEFT, other == RIGHT)
    assert (one == RIGHT).any()


def test_one_kidney_needs_a_midline() -> None:
    mask, affine = phantom(left=False)
    unknown = split_kidneys(mask, affine)
    assert (unknown.outcome, unknown.midline_mm) == ("side_unknown", None)
    assert not unknown.labels.any()
    known = split_kidneys(mask, affine, midline_mm=10.0)
    assert known.outcome == "one_kidney"
    assert set(np.unique(known.labels)) == {0, RIGHT}
    other = split_kidneys(phantom(right=False)[0], affine, midline_mm=10.0)
    assert set(np.unique(other.labels)) == {0, LEFT}


@pytest.mark.parametrize("midline_mm", [None, 10.0])
def test_a_horseshoe_is_cut_at_the_midline(midline_mm: float | None) -> None:
    mask, affine = phantom(bridge=True)
    split = split_kidneys(mask, affine, midline_mm)
    assert split.outcome == "joined"
    # Without a midline: the middle of its extent, x of voxels 6 to 49.
    expected = 10.0 if midline_mm is not None else -80 + 3 * (6 + 49) / 2
    assert split.midline_mm == pytest.approx(expected)
    x = -80 + 3 * np.arange(60)
    assert np.array_equal(np.unique(split.labels[x > expected]), [0, RIGHT])
    assert np.array_equal(np.unique(split.labels[x < expected]), [0, LEFT])


def test_small_pieces_go_with_their_side_and_never_make_a_kidney() -> None:
    mask, affine = phantom()
    mask[55:57, 30:32, 20:22] = 1  # 8 voxels, 0.3 ml
    split = split_kidneys(mask, affine)
    assert split.labels[55, 30, 20] == RIGHT
    alone = np.zeros_like(mask)
    alone[55:57, 30:32, 20:22] = 1
    assert split_kidneys(alone, affine, 10.0).outcome == "one_kidney"
    assert split_kidneys(np.zeros_like(mask), affine).outcome == "none"


def test_a_kidney_at_the_end_of_the_volume_is_cut() -> None:
    mask, affine = phantom()
    assert split_kidneys(mask, affine).cut == ()
    assert split_kidneys(mask[:, :, 10:], affine).cut == ("right", "left")
    assert split_kidneys(mask[:, :, 5:], affine).cut == ("right",)
    assert split_kidneys(mask[:, :, :26], affine).cut == ("left",)


def test_of_a_prediction_the_largest_piece_of_each_side_is_kept() -> None:
    mask, affine = phantom()
    whole = split_kidneys(mask, affine)
    mask[52:56, 30:34, 26:29] = 1  # scattered on the right
    mask[0:2, 0:2, 0:2] = mask[58:60, 0:2, 0:2] = 1  # in the corners of the scan
    split = split_kidneys(mask, affine, largest=True)
    assert np.array_equal(split.labels, whole.labels)
    assert split.cut == ()
    everything = split_kidneys(mask, affine)
    assert everything.cut == ("right", "left")
    assert int((everything.labels == RIGHT).sum()) == 10 * 10 * 12 + 4 * 4 * 3 + 2 * 2 * 2


def test_of_one_predicted_kidney_nothing_is_kept_on_the_other_side() -> None:
    mask, affine = phantom(left=False)
    mask[6:8, 10:12, 10:12] = 1
    split = split_kidneys(mask, affine, 10.0, largest=True)
    assert (split.outcome, set(np.unique(split.labels))) == ("one_kidney", {0, RIGHT})
    assert LEFT in split_kidneys(mask, affine, 10.0).labels


def test_the_bodys_midline_is_the_middle_between_its_sides() -> None:
    _, affine = phantom()
    image = np.full((60, 40, 30), -1000.0)
    image[8:48, 5:35] = 40.0
    image[2:4, 36:38] = 500.0  # the table
    assert body_midline(image, affine, -300.0) == pytest.approx(-80 + 3 * 27.5)
    assert body_midline(*turned(image, affine, "IPL"), -300.0) == pytest.approx(-80 + 3 * 27.5)
    assert body_midline(image, affine) == pytest.approx(-80 + 3 * 27.5)
    # Where no value is below -500 there are no Hounsfield units.
    assert body_midline(np.maximum(image, 0), affine) == pytest.approx(-80 + 3 * 27.5)
    with pytest.raises(ValueError, match="threshold must be below the body's intensities, got 900"):
        body_midline(image, affine, 900.0)


def test_the_dictionary_version_takes_one_kidneys_side_from_the_scan() -> None:
    mask, affine = phantom(left=False)
    image = np.full(mask.shape, -1000.0, np.float32)
    image[4:56, 5:35] = 40.0
    item = {
        name: MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(affine))
        for name, array in (("pred", mask), ("scan", image))
    }
    assert not SplitKidneysd("pred")(item)["pred"].any()
    split = SplitKidneysd("pred", image_key="scan")(item)["pred"]
    assert np.array_equal(np.asarray(split[0]) == RIGHT, mask == 1)
    assert not (split == LEFT).any()


def test_the_dictionary_version_takes_volumes_with_an_affine() -> None:
    mask, affine = phantom()
    item = {"label": MetaTensor(torch.from_numpy(mask)[None], affine=torch.from_numpy(affine))}
    split = SplitKidneysd("label")(item)["label"]
    assert np.array_equal(np.asarray(split[0]), split_kidneys(mask, affine).labels)
    with pytest.raises(ValueError, match=r"label must be a MetaTensor \(1, I, J, K\), got Tensor"):
        SplitKidneysd("label")({"label": torch.zeros(1, 2, 2, 2)})
    with pytest.raises(ValueError, match=r"mask must be \(I, J, K\), got shape \(1, 60, 40, 30\)"):
        split_kidneys(mask[None], affine)

"""Extraction of vertebral bodies and discs: geometry by hand and by analytic phantoms, and wrong input."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import SpatialResample
from toy.oriented_scan import (
    GEOMETRIES,
    corners,
    linear,
    linear_image,
    make_affine,
    painted,
    pair,
    world,
)

from reference import extraction as slow
from siamed.transforms import (
    ExtractDisc,
    ExtractDiscd,
    ExtractVertebralBody,
    ExtractVertebralBodyd,
)


@pytest.mark.parametrize("tilt_deg", [0.0, 25.0, -31.0])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_each_voxel_holds_the_value_of_its_own_place_in_the_patient(name, tilt_deg):
    affine = make_affine(*GEOMETRIES[name])
    out = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 5, tilt_deg=tilt_deg))
    expected = linear(world(out.affine.numpy(), out.shape[1:]))
    inside = out.as_tensor()[0].numpy() != 0
    inverse = np.linalg.inv(affine) @ out.affine.numpy()
    source = world(inverse, out.shape[1:])
    whole = ((source[..., 1:] >= 0) & (source[..., 1:] <= 159)).all(-1)
    assert whole.mean() > 0.9
    assert inside[whole].all()
    np.testing.assert_allclose(out.as_tensor()[0].numpy()[whole], expected[whole], atol=1e-8)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_tilted_disc_lies_horizontal_and_centered(name):
    affine = make_affine(*GEOMETRIES[name])
    upper, lower = pair(affine, 5, tilt_deg=28.0)
    out = ExtractDisc(normalize=False)(linear_image(affine), upper, lower)
    quad = np.stack([upper[3], upper[2], lower[1], lower[0]])
    inverse = np.linalg.inv(out.affine.numpy())
    voxels = quad @ inverse[:3, :3].T + inverse[:3, 3]
    # 32 mm take half of 224 columns: 2/7 mm a pixel; the 10 mm gap takes 35 rows. AS, PS, PI, AI around
    # (55.5, 111.5) in the middle slice, index 4.
    expected = [[4, 38, 55.5], [4, 38, 167.5], [4, 73, 167.5], [4, 73, 55.5]]
    np.testing.assert_allclose(voxels, expected, atol=1e-6)


def test_the_affine_of_a_plain_disc_is_the_one_derived_by_hand():
    affine = make_affine()
    out = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 5))
    # Pixel 2/7 mm. Slice 0 of the volume is slice 1 of the scan: x = 12 - 4. The center, 40 mm back and down
    # from the origin (y = 60 - 40, z = 80 - 40), lies at (55.5, 111.5): y0 = 20 + 111.5 * 2/7 and
    # z0 = 40 + 55.5 * 2/7.
    expected = [[-4, 0, 0, 8], [0, 0, -2 / 7, 20 + 223 / 7], [0, -2 / 7, 0, 40 + 111 / 7], [0, 0, 0, 1]]
    np.testing.assert_allclose(out.affine.numpy(), expected, atol=1e-9)


def test_body_volume_has_the_papers_size_and_the_same_scale_as_a_disc_of_equal_width():
    affine = make_affine()
    image = linear_image(affine)
    body = ExtractVertebralBody(normalize=False)(image, corners(affine, 5, (40, 40)))
    disc = ExtractDisc(normalize=False)(image, *pair(affine, 5))
    assert tuple(body.shape) == (1, 9, 224, 224)
    assert tuple(disc.shape) == (1, 9, 112, 224)
    np.testing.assert_allclose(body.affine[:3, :3], disc.affine[:3, :3], atol=1e-12)
    np.testing.assert_allclose(body.as_tensor()[:, :, 56:168], disc.as_tensor(), atol=1e-8)


def test_slices_keep_their_order_from_right_to_left():
    affine = make_affine()
    slices = torch.arange(1.0, 12.0)[None, :, None, None].expand(1, 11, 160, 160).contiguous()
    image = MetaTensor(slices, affine=torch.from_numpy(affine))
    out = ExtractDisc(normalize=False)(image, *pair(affine, 6))
    assert out[0, :, 56, 112].tolist() == pytest.approx([3, 4, 5, 6, 7, 8, 9, 10, 11])


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (5, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (1, [0, 0, 0, 1, 2, 3, 4, 5, 6]),
        (10, [7, 8, 9, 10, 11, 0, 0, 0, 0]),
    ],
)
def test_beyond_the_ends_of_the_scan_slices_are_zero_and_the_affine_goes_on(middle, expected):
    affine = make_affine(angles=(5, 6, 7))
    slices = torch.arange(1.0, 12.0)[None, :, None, None].expand(1, 11, 160, 160).contiguous()
    image = MetaTensor(slices, affine=torch.from_numpy(affine))
    out = ExtractDisc(normalize=False)(image, *pair(affine, middle))
    assert out[0, :, 56, 112].tolist() == pytest.approx(expected)
    np.testing.assert_allclose(out.affine[:3, 0], affine[:3, 0], atol=1e-12)
    center = out.affine.numpy() @ [4, 55.5, 111.5, 1]
    np.testing.assert_allclose(np.linalg.inv(affine) @ center, [middle, 80, 80, 1], atol=1e-6)


@pytest.mark.parametrize("size", [(9, 112, 224), (1, 112, 224), (9, 56, 112)])
def test_a_scan_of_one_slice_fills_the_middle_slice_alone(size):
    affine = make_affine()
    image = linear_image(affine, (1, 160, 160))
    out = ExtractDisc(spatial_size=size)(image, *pair(affine, 0))
    filled = out.as_tensor()[0].flatten(1).amax(1) > 0
    assert filled.tolist() == [i == size[0] // 2 for i in range(size[0])]
    assert torch.isnan(out.meta["reference_median"][0]).tolist() == [
        i != size[0] // 2 for i in range(size[0])
    ]


def test_slices_outside_the_given_range_are_zero():
    affine = make_affine()
    out = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 5), slices=(4, 7))
    assert (out[0, :, 56, 112] > 0).tolist() == [False] * 3 + [True] * 4 + [False] * 2


def test_thin_slices_are_taken_with_a_stride_and_never_mixed():
    affine = make_affine(spacing=(0.9, 0.5, 0.5))
    slices = torch.arange(1.0, 31.0)[None, :, None, None].expand(1, 30, 160, 160).contiguous()
    image = MetaTensor(slices, affine=torch.from_numpy(affine))
    out = ExtractDisc(normalize=False, slice_spacing_mm=3.6)(image, *pair(affine, 15))
    assert out[0, :, 56, 112].tolist() == pytest.approx([0, 4, 8, 12, 16, 20, 24, 28, 0])
    np.testing.assert_allclose(out.affine[:3, 0], [-3.6, 0, 0], atol=1e-12)


def test_a_middle_between_two_slices_snaps_to_a_slice():
    affine = make_affine()
    upper, lower = pair(affine, 5)
    shifted = upper + 0.4 * 2 * affine[:3, 0], lower
    out = ExtractDisc(normalize=False)(linear_image(affine), *shifted)
    np.testing.assert_allclose((np.linalg.inv(affine) @ out.affine.numpy())[0], [1, 0, 0, 1], atol=1e-9)


def test_corners_by_slice_place_the_box_by_the_middle_slice():
    affine = make_affine()
    by_slice = [{k: c + (k - 5) * affine[:3, 0] for k in range(3, 8)} for c in pair(affine, 5)]
    plain = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 5))
    mapped = ExtractDisc(normalize=False)(linear_image(affine), *by_slice)
    np.testing.assert_allclose(mapped.affine, plain.affine, atol=1e-9)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_scipy_on_noise(name):
    affine = make_affine(*GEOMETRIES[name])
    noise = np.random.default_rng(0).random((7, 160, 160))
    image = MetaTensor(torch.from_numpy(noise)[None], affine=torch.from_numpy(affine))
    upper, lower = pair(affine, 4, tilt_deg=17.0)
    out = ExtractDisc(normalize=False)(image, upper, lower)
    quad = np.stack([upper[3], upper[2], lower[1], lower[0]])
    expected = slow.extract(noise, affine, quad, 4, (9, 112, 224), 0.5)
    np.testing.assert_allclose(out.as_tensor()[0], expected, atol=1e-9)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_monai_on_noise_in_single_precision(name):
    affine = make_affine(*GEOMETRIES[name])
    noise = torch.rand(1, 11, 160, 160, generator=torch.Generator().manual_seed(1))
    image = MetaTensor(noise, affine=torch.from_numpy(affine))
    out = ExtractDisc(normalize=False)(image, *pair(affine, 5, tilt_deg=-22.0))
    monai = SpatialResample(padding_mode="zeros")(image, dst_affine=out.affine, spatial_size=out.shape[1:])
    np.testing.assert_allclose(out.as_tensor(), monai.as_tensor(), atol=2e-4)


def test_many_at_once_equal_one_by_one_even_from_temporary_arrays():
    affine = make_affine(angles=(4, 5, 6))
    noise = torch.rand(1, 11, 300, 160, generator=torch.Generator().manual_seed(2)) + 0.1
    image = MetaTensor(noise, affine=torch.from_numpy(affine))
    bodies = np.stack([corners(affine, 3 + i, (20 + 34 * i, 40), tilt_deg=6 * i) for i in range(4)])
    stacked = np.stack([bodies[:-1], bodies[1:]], 1)  # iterating it makes a new array for each disc
    for i, disc in enumerate(ExtractDisc().many(image, stacked)):
        assert torch.equal(disc.as_tensor(), ExtractDisc()(image, bodies[i], bodies[i + 1]).as_tensor())
    volumes = ExtractVertebralBody().many(image, list(bodies))
    neighbors = [[bodies[1]], [bodies[0], bodies[2]], [bodies[1], bodies[3]], [bodies[2]]]
    for i, volume in enumerate(volumes):
        alone = ExtractVertebralBody()(image, bodies[i], reference_corners_mm=neighbors[i])
        assert torch.equal(volume.as_tensor(), alone.as_tensor())


def test_pixels_coarser_than_the_scan_are_averaged_not_skipped():
    affine = make_affine(spacing=(4.0, 0.1, 0.1))
    lines = (torch.arange(700) % 2).float().expand(1, 3, 700, 700).contiguous()
    image = MetaTensor(lines, affine=torch.from_numpy(affine))
    bodies = pair(affine, 1, center_mm=(35.0, 35.0))
    smooth = ExtractDisc(normalize=False)(image, *bodies)[0, 4, 20:90, 20:200]
    skipped = ExtractDisc(normalize=False, antialias=False)(image, *bodies)[0, 4, 20:90, 20:200]
    assert (smooth - 0.5).abs().max() < 0.26
    assert (skipped - 0.5).abs().max() > 0.45
    assert smooth.std() < 0.5 * skipped.std()


def test_dictionary_and_array_versions_agree_and_labels_stay_labels():
    image, upper, lower, affine = painted()
    label = MetaTensor((image.as_tensor() > 300).float() * 2, affine=torch.from_numpy(affine))
    data = {"image": image, "label": label, "upper_corners_mm": upper, "lower_corners_mm": lower}
    cut = ExtractDiscd(["image", "label"], mode=["bilinear", "nearest"], normalize=[True, False])(data)
    assert torch.equal(cut["image"].as_tensor(), ExtractDisc()(image, upper, lower).as_tensor())
    assert set(cut["label"].unique().tolist()) == {0.0, 2.0}
    np.testing.assert_array_equal(cut["label"].affine, cut["image"].affine)
    assert data["image"].shape == image.shape

    body = ExtractVertebralBodyd("image", reference_key="around")
    cut = body({"image": image, "corners_mm": upper, "around": [lower]})
    expected = ExtractVertebralBody()(image, upper, reference_corners_mm=[lower])
    assert torch.equal(cut["image"].as_tensor(), expected.as_tensor())


def test_transforms_survive_pickling():
    image, upper, lower, _ = painted()
    for transform in (ExtractDisc(), ExtractVertebralBody(slice_spacing_mm=4.0)):
        again = pickle.loads(pickle.dumps(transform))
        args = (upper, lower) if isinstance(transform, ExtractDisc) else (upper,)
        assert torch.equal(again(image, *args).as_tensor(), transform(image, *args).as_tensor())
    assert pickle.loads(pickle.dumps(ExtractDiscd("image"))).keys == ("image",)


def test_volumes_can_be_batched_by_monai():
    image, upper, lower, _ = painted()
    volumes = [{"image": v} for v in ExtractDisc().many(image, [(upper, lower)] * 3)]
    batch = next(iter(DataLoader(volumes, batch_size=3)))["image"]
    assert tuple(batch.shape) == (3, 1, 9, 112, 224)


def replaced(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:3], r"upper_corners_mm of disc 0 must have shape \(4, 3\).*got \(3, 3\)"),
        (lambda c: replaced(c, np.nan), "upper_corners_mm of disc 0 must be finite"),
        (lambda c: {}, "at least one slice, got an empty mapping"),
        (lambda c: {1: c}, r"upper_corners_mm of disc 0\[1\] must lie in slice 1, got slice positions \[5.0"),
        (lambda c: c + [0, 0, -60], "must lie inferior to upper_corners_mm"),
        (lambda c: c - [0, 400, 0], "must have its center inside the image"),
    ],
)
def test_malformed_corners_are_named(change, message):
    affine = make_affine()
    upper, lower = pair(affine, 5)
    with pytest.raises(ValueError, match=message):
        ExtractDisc()(linear_image(affine), change(upper), lower)


def test_swapped_and_flat_bodies_are_refused():
    affine = make_affine()
    box = corners(affine, 5, (40, 40))
    with pytest.raises(ValueError, match="must be in the order AS, PS, PI, AI"):
        ExtractVertebralBody()(linear_image(affine), box[[1, 0, 3, 2]])
    with pytest.raises(ValueError, match=r"wider than one voxel \(0.500 mm\), got width 0.300 mm"):
        ExtractVertebralBody()(linear_image(affine), corners(affine, 5, (40, 40), width_mm=0.3))


def test_another_orientation_and_plain_tensors_are_refused():
    affine = make_affine()
    image = linear_image(affine)
    ras = MetaTensor(image.as_tensor(), affine=torch.eye(4))
    with pytest.raises(ValueError, match="orientation LIP.*got RAS"):
        ExtractDisc()(ras, *pair(affine, 5))
    with pytest.raises(TypeError, match="must be a monai.data.MetaTensor, got Tensor"):
        ExtractDisc()(image.as_tensor(), *pair(affine, 5))
    with pytest.raises(ValueError, match=r"image must have shape \(C, D, H, W\)"):
        ExtractDisc()(image[0], *pair(affine, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial_size": (112, 224)}, "spatial_size must be"),
        ({"width_fraction": 0.0}, "width_fraction must be above 0"),
        ({"mode": "bicubic"}, "mode must be"),
        ({"slice_spacing_mm": 0.0}, "slice_spacing_mm must be above 0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ExtractDisc(**options)

"""Extraction of vertebral bodies and discs: geometry by hand and by analytic phantoms, then the way back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, SpatialResample

from reference import extraction as slow
from siamed.transforms import (
    ExtractDisc,
    ExtractDiscd,
    ExtractVertebralBody,
    ExtractVertebralBodyd,
    map_to_scan,
)

LIP = np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]])  # columns: to left, inferior, posterior


def rotation(x_deg: float, y_deg: float, z_deg: float) -> np.ndarray:
    x, y, z = np.deg2rad([x_deg, y_deg, z_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def make_affine(spacing=(4.0, 0.5, 0.5), angles=(0.0, 0.0, 0.0), origin=(12.0, 60.0, 80.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(*angles) @ LIP * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


def linear(points: np.ndarray) -> np.ndarray:
    return 500 + points @ np.array([3.0, -1.7, 0.9])


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def linear_image(affine: np.ndarray, shape=(11, 160, 160)) -> MetaTensor:
    values = linear(world(affine, shape))
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine))


def corners(affine, middle, center_mm, width_mm=32.0, height_mm=24.0, tilt_deg=0.0) -> np.ndarray:
    """A rectangle in slice ``middle``, center (y, x) in mm from voxel (0, 0), turned posterior side down."""
    down, back = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in (1, 2))
    tilt = np.deg2rad(tilt_deg)
    posterior = np.cos(tilt) * back + np.sin(tilt) * down
    inferior = np.cos(tilt) * down - np.sin(tilt) * back
    center = affine[:3, 3] + middle * affine[:3, 0] + center_mm[0] * down + center_mm[1] * back
    signs = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    return np.array([center + height_mm / 2 * i * inferior + width_mm / 2 * p * posterior for i, p in signs])


def pair(affine, middle, center_mm=(40.0, 40.0), tilt_deg=0.0, gap_mm=10.0, height_mm=24.0):
    tilt = np.deg2rad(tilt_deg)
    step = (height_mm + gap_mm) / 2 * np.array([np.cos(tilt), -np.sin(tilt)])
    make = [
        corners(affine, middle, np.array(center_mm) + s * step, 32.0, height_mm, tilt_deg) for s in (-1, 1)
    ]
    return make[0], make[1]


GEOMETRIES = {
    "plain": ((4.0, 0.5, 0.5), (0, 0, 0)),
    "anisotropic": ((3.3, 0.4, 0.7), (0, 0, 0)),
    "oblique": ((4.0, 0.5, 0.5), (9, -14, 17)),
    "oblique and anisotropic": ((3.3, 0.6, 0.45), (-12, 8, -20)),
}


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


# Intensities


def painted() -> tuple[MetaTensor, np.ndarray, np.ndarray, np.ndarray]:
    """Bodies of 40 (smaller) and 80 (larger), disc 100 in front and 200 behind; slice k times k + 1."""
    affine = make_affine()
    rows, columns = np.mgrid[:160, :160] * 0.5
    plane = np.where(columns < 40, 100.0, 200.0)
    upper = corners(affine, 5, (25, 40), height_mm=20.0)
    lower = corners(affine, 5, (59, 40), height_mm=28.0)
    plane[(rows > 14) & (rows < 36) & (columns > 22) & (columns < 58)] = 40
    plane[(rows > 44) & (rows < 74) & (columns > 22) & (columns < 58)] = 80
    values = torch.from_numpy(plane[None] * np.arange(1, 12)[:, None, None]).float()
    return MetaTensor(values[None], affine=torch.from_numpy(affine)), upper, lower, affine


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


# The way back


@pytest.mark.parametrize("name", GEOMETRIES)
def test_what_was_cut_comes_back_to_its_place(name):
    affine = make_affine(*GEOMETRIES[name])
    image = linear_image(affine)
    extract = ExtractDisc(normalize=False)
    out = extract(image, *pair(affine, 5, tilt_deg=20.0))
    back = extract.inverse(out.clone())
    assert back.shape == image.shape
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)
    reach = np.linalg.inv(np.linalg.inv(affine) @ out.affine.numpy())
    index = world(reach, image.shape[1:])
    margin = 6  # a scan pixel covers up to 3 volume pixels: nearer the rim it mixes with the outside
    inside = (index[..., 1] > margin) & (index[..., 1] < 111 - margin)
    inside &= (index[..., 2] > margin) & (index[..., 2] < 223 - margin)
    inside &= (index[..., 0] > -0.5) & (index[..., 0] < 8.5)
    outside = ((index[..., 1:] < -margin) | (index[..., 1:] > np.array([112, 224]) + margin)).any(-1)
    source_ok = inside.copy()
    source_ok[:, [0, 1, 2, -3, -2, -1]] = False
    source_ok[:, :, [0, 1, 2, -3, -2, -1]] = False
    assert source_ok.sum() > 5000
    np.testing.assert_allclose(back[0].numpy()[source_ok], image[0].numpy()[source_ok], atol=1e-6)
    assert back[0].numpy()[outside].max() == 0


def test_a_mark_on_one_slice_of_the_volume_lands_on_that_slice_of_the_scan():
    affine = make_affine()
    out = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 6))
    mark = torch.zeros(2, 9, 112, 224)
    mark[1, 1] = 1.0
    back = map_to_scan(mark, out)
    assert tuple(back.shape) == (2, 11, 160, 160)
    assert back[1].flatten(1).amax(1).nonzero().flatten().tolist() == [3]
    assert back[0].abs().max() == 0
    # 112 x 224 pixels of 2/7 mm cover 32 x 64 mm: 64 x 128 scan pixels
    assert back[1].sum().item() == pytest.approx(64 * 128, rel=0.01)


def test_invertd_goes_back_through_the_orientation_to_the_file_grid():
    lip = make_affine()
    image = linear_image(lip)
    ras = Orientationd("image", axcodes="RAS", labels=None)({"image": image})["image"]
    ras.applied_operations = []
    chain = Compose(
        [
            Orientationd("image", axcodes="LIP", labels=None),
            ExtractDiscd("image", normalize=False),
        ]
    )
    upper, lower = pair(lip, 5)
    data = chain({"image": ras, "upper_corners_mm": upper, "lower_corners_mm": lower})
    data["pred"] = MetaTensor(data["image"].as_tensor().clone())
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(data)["pred"]
    assert back.shape == ras.shape
    np.testing.assert_allclose(back.affine, ras.affine, atol=1e-9)
    found = back[0] != 0
    core = torch.zeros_like(found)
    where = found.nonzero()
    low, high = where.amin(0) + torch.tensor([0, 4, 4]), where.amax(0) - torch.tensor([0, 4, 4])
    core[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1] = True
    assert core.sum() > 50000
    np.testing.assert_allclose(back[0][core], ras[0][core], atol=1e-6)


def test_invertd_with_nearest_keeps_labels_whole():
    affine = make_affine()
    chain = ExtractDiscd("image", normalize=False)
    upper, lower = pair(affine, 5, tilt_deg=13)
    data = chain({"image": linear_image(affine), "upper_corners_mm": upper, "lower_corners_mm": lower})
    label = torch.zeros(1, 9, 112, 224)
    label[..., 40:70, 60:160] = 3
    data["pred"] = MetaTensor(label)
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=True)(data)["pred"]
    assert set(back.unique().tolist()) == {0.0, 3.0}


def test_map_to_scan_refuses_a_volume_that_was_not_extracted():
    with pytest.raises(ValueError, match="must come straight from"):
        map_to_scan(torch.zeros(1, 9, 112, 224), MetaTensor(torch.zeros(1, 9, 112, 224)))


def test_a_map_of_another_size_is_refused():
    affine = make_affine()
    out = ExtractDisc()(linear_image(affine), *pair(affine, 5))
    with pytest.raises(ValueError, match=r"data must have shape \(C, \*\(9, 112, 224\)\)"):
        map_to_scan(torch.zeros(1, 9, 7, 7), out)


# Dictionary versions, pickling, batches


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


# Wrong input


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

"""A view of a volume: where it looks, by hand; what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamed.transforms.rand_volume_view import (
    RandVolumeViewd,
    VolumeView,
    apply_volume_view,
    apply_volume_views,
    invert_volume_view,
)

FIELD = (40, 80)


def blob(center: tuple[float, float], shape: tuple[int, int] = (64, 128)) -> torch.Tensor:
    rows, columns = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    distance = (rows - center[0]) ** 2 + (columns - center[1]) ** 2
    return torch.from_numpy(np.exp(-distance / 18).astype(np.float32))[None]


def center_of(image: torch.Tensor) -> np.ndarray:
    weight = image[0].numpy() / image[0].numpy().sum()
    rows, columns = np.meshgrid(*(np.arange(n) for n in weight.shape), indexing="ij")
    return np.array([(rows * weight).sum(), (columns * weight).sum()])


def test_the_plain_view_is_the_middle_of_the_crop_pixel_for_pixel() -> None:
    crop = torch.rand(3, 64, 128)
    torch.testing.assert_close(apply_volume_view(crop, VolumeView(), FIELD, FIELD), crop[:, 12:52, 24:104])


def test_a_shift_of_whole_pixels_moves_the_window() -> None:
    crop = torch.rand(1, 64, 128)
    seen = apply_volume_view(crop, VolumeView(shift_x_px=7.0, shift_y_px=-3.0), FIELD, FIELD)
    torch.testing.assert_close(seen, crop[:, 9:49, 31:111], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "view",
    [
        VolumeView(angle_deg=15.0),
        VolumeView(angle_deg=-12.0, shift_x_px=5.0, shift_y_px=4.0),
        VolumeView(angle_deg=10.0, scale=1.1, shift_x_px=-6.0),
        VolumeView(scale=0.9),
    ],
)
@pytest.mark.parametrize("size", [(40, 80), (20, 40)])
def test_rotation_scale_and_shift_are_a_similarity_in_crop_pixels(
    view: VolumeView, size: tuple[int, int]
) -> None:
    # A point of the view at (x, y) view pixels from its middle lies at scale * R(angle) (x, y) + shift in the
    # crop: equal lengths along both axes, although the crop is twice as wide as high.
    place = (34.0, 70.0)
    found = center_of(apply_volume_view(blob(place), view, FIELD, size))
    y, x = (found + 0.5) * np.array(FIELD) / np.array(size) - np.array(FIELD) / 2
    turn = np.deg2rad(view.angle_deg)
    back_x = view.scale * (np.cos(turn) * x - np.sin(turn) * y) + view.shift_x_px + 64 - 0.5
    back_y = view.scale * (np.sin(turn) * x + np.cos(turn) * y) + view.shift_y_px + 32 - 0.5
    np.testing.assert_allclose((back_y, back_x), place, atol=0.15)


def test_outside_the_crop_is_zero_before_the_intensities_change() -> None:
    seen = apply_volume_view(torch.ones(1, 64, 128), VolumeView(shift_x_px=200.0), FIELD, FIELD)
    assert float(seen.abs().max()) == 0.0


def test_intensities_become_gain_and_offset() -> None:
    crop = torch.rand(1, 64, 128)
    plain = apply_volume_view(crop, VolumeView(), FIELD, FIELD)
    changed = apply_volume_view(crop, VolumeView(gain=0.1, offset=-0.05), FIELD, FIELD)
    torch.testing.assert_close(changed, plain * 1.1 - 0.05)


def random_view(**changes) -> RandVolumeViewd:
    ranges = {"angle_deg": 15.0, "shift_x_px": 32.0, "shift_y_px": 24.0, "scale": 0.1, "intensity": 0.1}
    return RandVolumeViewd("image", FIELD, (20, 40), **{**ranges, **changes})


def test_draws_fill_their_ranges_and_never_leave_them() -> None:
    transform = random_view()
    transform.set_random_state(seed=0)
    views = [transform.draw()[0] for _ in range(400)]
    for name, middle, reach in [
        ("angle_deg", 0.0, 15.0),
        ("shift_x_px", 0.0, 32.0),
        ("shift_y_px", 0.0, 24.0),
        ("scale", 1.0, 0.1),
        ("gain", 0.0, 0.1),
        ("offset", 0.0, 0.1),
    ]:
        values = np.array([getattr(view, name) for view in views]) - middle
        assert np.abs(values).max() <= reach
        assert values.max() > 0.9 * reach
        assert values.min() < -0.9 * reach


def test_the_same_seed_gives_the_same_view_and_another_seed_another() -> None:
    crop = {"image": torch.rand(1, 1, 64, 128)}
    first, second = random_view(), random_view()
    first.set_random_state(seed=4)
    second.set_random_state(seed=4)
    assert torch.equal(first(crop)["image"], second(crop)["image"])
    second.set_random_state(seed=5)
    assert not torch.equal(first(crop)["image"], second(crop)["image"])


def test_zero_ranges_and_no_randomness_give_the_plain_view_of_a_half_precision_crop() -> None:
    crop = {"image": torch.rand(1, 3, 64, 128).half(), "label": torch.tensor([1])}
    plain = apply_volume_view(crop["image"][0], VolumeView(), FIELD, (20, 40))[None]
    still = random_view(angle_deg=0.0, shift_x_px=0.0, shift_y_px=0.0, scale=0.0, intensity=0.0)
    for transform in (still, random_view(random=False)):
        seen = transform(crop)
        assert torch.equal(seen["image"], plain)
        assert seen["image"].dtype == torch.float32
        assert tuple(seen["image"].shape) == (1, 3, 20, 40)
        assert torch.equal(seen["label"], crop["label"])
    assert crop["image"].dtype == torch.float16


MIXED = [
    VolumeView(),
    VolumeView(angle_deg=9.0, shift_x_px=4.5, shift_y_px=-2.0, scale=0.95, gain=0.1, offset=-0.05),
    VolumeView(angle_deg=-14.0, scale=1.08, shift_slices=2, flip=True),
    VolumeView(shift_slices=-1, offset=0.2),
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_batch_where_it_lies_equals_its_items_one_by_one(device: str) -> None:
    volumes = torch.rand(4, 9, 64, 128)
    batch = apply_volume_views(volumes.to(device), MIXED, FIELD, (20, 40)).cpu()
    for volume, view, seen in zip(volumes, MIXED, batch, strict=True):
        torch.testing.assert_close(apply_volume_view(volume, view, FIELD, (20, 40)), seen, atol=1e-5, rtol=0)


def test_slices_are_shifted_and_flipped_whole() -> None:
    volume = torch.arange(1.0, 6.0)[:, None, None].expand(5, 64, 128)
    for view, expected in [
        (VolumeView(shift_slices=2), [3, 4, 5, 0, 0]),
        (VolumeView(shift_slices=-1), [0, 1, 2, 3, 4]),
        (VolumeView(flip=True), [5, 4, 3, 2, 1]),
        (VolumeView(flip=True, shift_slices=1), [4, 3, 2, 1, 0]),
    ]:
        seen = apply_volume_view(volume, view, FIELD, FIELD)
        assert seen[:, 20, 40].tolist() == expected


def test_a_map_on_the_view_comes_back_to_its_place() -> None:
    volume = torch.cat([blob((30.0, 60.0)), blob((36.0, 70.0)), torch.zeros(1, 64, 128)])
    view = VolumeView(angle_deg=12.0, shift_x_px=5.0, shift_y_px=-3.0, scale=1.1, flip=True, shift_slices=1)
    seen = apply_volume_view(volume, view, FIELD, (80, 160))
    back = invert_volume_view(seen, view, FIELD, (64, 128))
    np.testing.assert_allclose(center_of(back[:1]), (30.0, 60.0), atol=0.1)
    np.testing.assert_allclose(center_of(back[1:2]), (36.0, 70.0), atol=0.1)
    assert float((back[:2] - volume[:2]).abs().max()) < 0.06  # what two bilinear resamplings blur
    assert float(back[2].abs().max()) == 0.0


def test_a_pair_shares_its_flip_and_nothing_else() -> None:
    transform = random_view(flip=0.5, shift_slices=2)
    transform.set_random_state(seed=1)
    pairs = [transform.draw(2) for _ in range(300)]
    assert all(first.flip == second.flip for first, second in pairs)
    assert 100 < sum(first.flip for first, _ in pairs) < 200
    assert all(first.angle_deg != second.angle_deg for first, second in pairs)
    shifts = {view.shift_slices for pair in pairs for view in pair}
    assert shifts == {-2, -1, 0, 1, 2}
    item = transform({"image": torch.rand(2, 9, 64, 128)})
    assert tuple(item["image"].shape) == (2, 9, 20, 40)


def test_what_cannot_be_a_view_is_refused() -> None:
    with pytest.raises(ValueError, match=r"volumes must be \(B, D, H, W\) with one of 2 views each"):
        apply_volume_views(torch.zeros(1, 1, 8, 8), [VolumeView()] * 2, FIELD, FIELD)
    with pytest.raises(ValueError, match=r"scale must be above 0, got 0"):
        apply_volume_view(torch.zeros(1, 8, 8), VolumeView(scale=0.0), FIELD, FIELD)
    with pytest.raises(ValueError, match=r"flip must be a chance"):
        random_view(flip=1.5)

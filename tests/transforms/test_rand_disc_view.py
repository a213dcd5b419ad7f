"""A view of a disc crop: where it looks, by hand; what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamed.transforms.rand_disc_view import DiscView, RandDiscViewd, apply_disc_view

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
    torch.testing.assert_close(apply_disc_view(crop, DiscView(), FIELD, FIELD), crop[:, 12:52, 24:104])


def test_a_shift_of_whole_pixels_moves_the_window() -> None:
    crop = torch.rand(1, 64, 128)
    seen = apply_disc_view(crop, DiscView(shift_x_px=7.0, shift_y_px=-3.0), FIELD, FIELD)
    torch.testing.assert_close(seen, crop[:, 9:49, 31:111], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "view",
    [
        DiscView(angle_deg=15.0),
        DiscView(angle_deg=-12.0, shift_x_px=5.0, shift_y_px=4.0),
        DiscView(angle_deg=10.0, scale=1.1, shift_x_px=-6.0),
        DiscView(scale=0.9),
    ],
)
@pytest.mark.parametrize("size", [(40, 80), (20, 40)])
def test_rotation_scale_and_shift_are_a_similarity_in_crop_pixels(
    view: DiscView, size: tuple[int, int]
) -> None:
    # A point of the view at (x, y) view pixels from its middle lies at scale * R(angle) (x, y) + shift in the
    # crop: equal lengths along both axes, although the crop is twice as wide as high.
    place = (34.0, 70.0)
    found = center_of(apply_disc_view(blob(place), view, FIELD, size))
    y, x = (found + 0.5) * np.array(FIELD) / np.array(size) - np.array(FIELD) / 2
    turn = np.deg2rad(view.angle_deg)
    back_x = view.scale * (np.cos(turn) * x - np.sin(turn) * y) + view.shift_x_px + 64 - 0.5
    back_y = view.scale * (np.sin(turn) * x + np.cos(turn) * y) + view.shift_y_px + 32 - 0.5
    np.testing.assert_allclose((back_y, back_x), place, atol=0.15)


def test_outside_the_crop_is_zero_before_the_intensities_change() -> None:
    seen = apply_disc_view(torch.ones(1, 64, 128), DiscView(shift_x_px=200.0), FIELD, FIELD)
    assert float(seen.abs().max()) == 0.0


def test_intensities_become_gain_and_offset() -> None:
    crop = torch.rand(1, 64, 128)
    plain = apply_disc_view(crop, DiscView(), FIELD, FIELD)
    changed = apply_disc_view(crop, DiscView(gain=0.1, offset=-0.05), FIELD, FIELD)
    torch.testing.assert_close(changed, plain * 1.1 - 0.05)


def random_view(**changes) -> RandDiscViewd:
    ranges = {"angle_deg": 15.0, "shift_x_px": 32.0, "shift_y_px": 24.0, "scale": 0.1, "intensity": 0.1}
    return RandDiscViewd("image", FIELD, (20, 40), **{**ranges, **changes})


def test_draws_fill_their_ranges_and_never_leave_them() -> None:
    transform = random_view()
    transform.set_random_state(seed=0)
    views = [transform.draw() for _ in range(400)]
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
    plain = apply_disc_view(crop["image"][0], DiscView(), FIELD, (20, 40))[None]
    still = random_view(angle_deg=0.0, shift_x_px=0.0, shift_y_px=0.0, scale=0.0, intensity=0.0)
    for transform in (still, random_view(random=False)):
        seen = transform(crop)
        assert torch.equal(seen["image"], plain)
        assert seen["image"].dtype == torch.float32
        assert tuple(seen["image"].shape) == (1, 3, 20, 40)
        assert torch.equal(seen["label"], crop["label"])
    assert crop["image"].dtype == torch.float16

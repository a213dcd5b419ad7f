"""Views of a slice: image, label and points go through one affine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamed.transforms.vertebra_view import RandVertebraViewd, VertebraView, ViewParameters, view_affine


def blob(shape: tuple[int, int], center: tuple[float, float]) -> torch.Tensor:
    rows, columns = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return torch.from_numpy(
        np.exp(-((rows - center[0]) ** 2 + (columns - center[1]) ** 2) / 18).astype(np.float32)
    )[None]


def center_of(image: torch.Tensor) -> np.ndarray:
    rows, columns = np.meshgrid(*(np.arange(n) for n in image.shape[-2:]), indexing="ij")
    weight = image[0].numpy() / image[0].numpy().sum()
    return np.array([(rows * weight).sum(), (columns * weight).sum()])


@pytest.mark.parametrize(
    "view",
    [
        ViewParameters(center_mm=(40.0, 30.0)),
        ViewParameters(angle_deg=25.0, center_mm=(40.0, 30.0)),
        ViewParameters(angle_deg=-10.0, zoom=1.25, center_mm=(42.0, 28.0), flip=True),
    ],
)
def test_a_point_moves_with_the_image(view: ViewParameters) -> None:
    spacing, point = (0.8, 0.5), (50.0, 66.0)
    resampler = VertebraView((96, 80), 1.0)
    affine = view_affine(view, resampler.size, 1.0, spacing)
    seen = resampler.image(blob((100, 120), point), affine)
    np.testing.assert_allclose(resampler.points(np.array(point), affine), center_of(seen), atol=0.1)


def test_the_view_at_the_source_spacing_is_the_source() -> None:
    image = torch.rand(1, 64, 48)
    affine = view_affine(ViewParameters(center_mm=(31.5, 23.5)), (64, 48), 1.0, (1.0, 1.0))
    torch.testing.assert_close(VertebraView((64, 48), 1.0).image(image, affine), image, atol=1e-4, rtol=0)


def item() -> dict:
    corners = np.array(
        [[[20, 30], [20, 60], [45, 60], [45, 30]], [[-10, 30], [-10, 60], [12, 60], [12, 30]]], float
    )
    return {
        "image": torch.rand(1, 100, 90),
        "label": torch.zeros(1, 100, 90),
        "corners": corners,
        "spacing_mm": (1.0, 1.0),
    }


def transform(**changes: float | bool) -> RandVertebraViewd:
    settings = {"angle_deg": 20.0, "zoom": (0.8, 1.2), "shift_mm": (5.0, 5.0), "flip_prob": 0.5} | changes
    return RandVertebraViewd(("image", "label"), (64, 64), 1.0, **settings)


def test_one_seed_gives_one_view() -> None:
    results = []
    for _ in range(2):
        draw = transform()
        draw.set_random_state(seed=7)
        results.append(draw(item())["corners"])
    np.testing.assert_array_equal(*results)


def test_the_fixed_view_looks_at_the_middle_of_the_slice() -> None:
    result = transform(random=False)(item())
    np.testing.assert_allclose(result["corners"][0][0], np.array([20, 30]) - (49.5 - 31.5, 44.5 - 31.5))


def test_seen_corners_stay_inside_the_scan() -> None:
    result = transform(random=False)(item())
    assert result["corners"][1][:, 0].min() < result["seen_corners"][1][:, 0].min()
    np.testing.assert_allclose(result["seen_corners"][1][0], np.array([0, 30]) - (18, 13))

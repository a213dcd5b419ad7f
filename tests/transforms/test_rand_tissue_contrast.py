"""Contrast augmentation: identity at zero strength, labels untouched, same seed same result."""

from __future__ import annotations

import numpy as np
import torch

from siamed.transforms.rand_tissue_contrast import (
    CURVE_AT,
    ContrastParameters,
    RandTissueContrastd,
    apply_contrast,
)
from siamed.transforms.scale_percentile import slice_percentile_scale

NAN = float("nan")


def nothing(**changes: object) -> ContrastParameters:
    settings: dict = {
        "curve": tuple(CURVE_AT),
        "tissue_level": (NAN, NAN, NAN),
        "tissue_gain": (1.0, 1.0, 1.0),
        "gamma": 1.0,
        "bias": (0.0,) * 5,
        "blur_px": 0.0,
        "noise": 0.0,
        "noise_seed": 0,
    }
    return ContrastParameters(**(settings | changes))


def item() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(1, 40, 30)
    label[:, 10:30, 5:25] = 2
    return {"image": torch.rand(1, 40, 30, generator=generator), "label": label}


def transform(prob: float = 1.0) -> RandTissueContrastd:
    return RandTissueContrastd(("image", "label"), prob, 0.5, (0.05, 1.0), (0.4, 1.3), 0.3, 0.6, 1.2, 0.08)


def test_zero_strength_changes_nothing() -> None:
    image = item()["image"][0].numpy()
    np.testing.assert_allclose(apply_contrast(image, np.zeros((40, 30), int), nothing()), image, atol=1e-6)


def test_a_moved_tissue_gets_its_level_and_others_stay() -> None:
    data = item()
    image, label = data["image"][0].numpy(), data["label"][0].numpy().astype(int)
    out = apply_contrast(image, label, nothing(tissue_level=(NAN, 0.8, NAN), tissue_gain=(1.0, 0.0, 1.0)))
    np.testing.assert_allclose(out[15:25, 10:20], 0.8, atol=1e-3)
    np.testing.assert_allclose(out[:5], image[:5], atol=1e-4)


def test_equal_intensities_stay_equal_under_the_curve() -> None:
    image = np.full((20, 20), 0.33, np.float32)
    out = apply_contrast(
        image, np.zeros((20, 20), int), nothing(curve=(0.0, 0.9, 0.2, 0.7, 0.1, 0.5, 0.3, 0.6))
    )
    assert np.ptp(out) < 1e-6
    np.testing.assert_allclose(out[0, 0], 0.7 - 0.6 * (0.33 - 0.26) / 0.14, rtol=1e-5)


def test_the_label_is_untouched_and_the_seed_decides() -> None:
    results = []
    for _ in range(2):
        draw = transform()
        draw.set_random_state(seed=5)
        results.append(draw(item()))
    torch.testing.assert_close(results[0]["image"], results[1]["image"])
    torch.testing.assert_close(results[0]["label"], item()["label"])
    assert not torch.equal(results[0]["image"], item()["image"])


def test_noise_keeps_magnitudes_positive() -> None:
    assert float(transform()(item())["image"].min()) >= 0


def test_percentile_scaling_ignores_the_empty_field_and_the_unit() -> None:
    image = torch.zeros(2, 10, 10)
    image[:, 2:8, 2:8] = torch.linspace(1, 100, 36).view(6, 6)
    scaled = slice_percentile_scale(image, 99.0)
    torch.testing.assert_close(scaled, slice_percentile_scale(1000 * image, 99.0))
    assert 0.99 < float(scaled.max()) <= 1.1
    assert float(slice_percentile_scale(torch.zeros(1, 4, 4), 99.0).abs().max()) == 0

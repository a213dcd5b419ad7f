"""A flipped right kidney is a left one: no configuration of a kidney bundle may flip."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import RandAffined

ROOT = Path(__file__).resolve().parents[2]
KIDNEY_CONFIGS = sorted((ROOT / "bundles").glob("kidney_*/configs/*.yaml"))
FLIPS = re.compile(
    r"(?i)_target_:.*(flip|rotate90|mirror|transpose)|^\s*flip\w*:\s*(?!0\b|0\.0\b|false\b)", re.M
)


def test_there_are_configurations_to_look_at() -> None:
    assert {path.parent.parent.name for path in KIDNEY_CONFIGS} >= {
        "kidney_ct_segmentation",
        "kidney_mr_segmentation",
    }


@pytest.mark.parametrize("path", KIDNEY_CONFIGS, ids=lambda p: f"{p.parent.parent.name}/{p.stem}")
def test_nothing_in_it_flips(path: Path) -> None:
    assert FLIPS.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["- _target_: RandFlipd", "  _target_: RandAxisFlipd", "flip: 0.5", "flip_prob: 1"]
)
def test_a_flip_would_be_found(text: str) -> None:
    assert FLIPS.findall(text)


def test_the_random_affine_keeps_right_on_the_right() -> None:
    # The largest turns and scales that a configuration draws: the order of two marks never changes.
    image = torch.zeros(2, 24, 24, 24)
    image[0, 12, 12, 4:8] = image[1, 12, 12, 16:20] = 1
    turn = RandAffined("image", prob=1.0, rotate_range=[0.3] * 3, scale_range=[0.2] * 3, padding_mode="zeros")
    turn.set_random_state(seed=0)
    for _ in range(30):
        seen = np.asarray(turn({"image": image})["image"])
        first, second = (np.argwhere(mark > 0.05).mean(0)[2] for mark in seen)
        assert first < second

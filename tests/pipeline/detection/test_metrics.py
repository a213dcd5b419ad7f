"""F1 of corners; expected values by counting."""

from __future__ import annotations

import pytest
import torch
from toy.detection_oracle import WHOLE, column_corners, maps_of

from siamed.pipeline.detection.metrics import CornerF1

SIZE = (224, 160)


def target(count: int) -> torch.Tensor:
    maps = maps_of(column_corners(count), [WHOLE] * count, SIZE)
    return torch.cat([maps[:7].sigmoid(), torch.zeros(18, *SIZE)])


@pytest.mark.parametrize(
    ("found", "shift", "expected"),
    [
        (4, 0.0, 1.0),
        (4, 1.0, 1.0),
        (4, 6.0, 0.0),
        (2, 0.0, 2 * 8 / (2 * 8 + 8)),
        (5, 0.0, 2 * 16 / (2 * 16 + 4)),
    ],
)
def test_pooled_f1(found: int, shift: float, expected: float) -> None:
    metric = CornerF1(radius_px=2.0)
    metric(maps_of(column_corners(found) + shift, [WHOLE] * found, SIZE)[None], target(4)[None])
    assert float(metric.aggregate()) == pytest.approx(expected)


def test_before_anything_is_seen_there_is_no_value() -> None:
    assert torch.isnan(CornerF1(2.0).aggregate())

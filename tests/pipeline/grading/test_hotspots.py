"""Hotspots: the derivative of the asked score, brought back to where it was seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.hotspots import EvidenceHotspots

RANGES = {
    "angle_deg": 15.0,
    "shift_x_px": 16.0,
    "shift_y_px": 8.0,
    "scale": 0.1,
    "intensity": 0.1,
    "flip": 0.5,
    "shift_slices": 1,
}
SIZE = (5, 56, 112)


class TwoKinds(nn.Module):
    """Narrowing looks at bright pixels, bulging at dark ones; classes without a finding at nothing.

    Scores are sums of squares of what lies above, or below, a threshold: their derivatives are largest where
    the volume is brightest, or darkest.
    """

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        bright = (volume - 0.6).clamp(min=0).square().flatten(1).sum(1)
        dark = (0.4 - volume).clamp(min=0).square().flatten(1).sum(1)
        zero = 0 * bright
        return torch.stack([zero, bright, zero, dark], 1)


def grader(slices: int = 5, **changes: tuple[int, int]) -> DiscGrader:
    fields = {"field_px": (40, 80), "input_size": (40, 80), **changes}
    return DiscGrader(TwoKinds(), ["narrowing", "bulging"], slices, **fields)


def volume() -> torch.Tensor:
    """Gray, with a bright spot in slice 1 and a dark one in slice 3, to the right of the middle."""
    disc = torch.full((1, 1, *SIZE), 0.5)
    disc[0, 0, 1, 20:24, 70:74] = 1.0
    disc[0, 0, 3, 34:38, 60:64] = 0.0
    return disc


YES = [{"narrowing": 1, "bulging": 1}]


def peak(found: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(found.argmax(), found.shape))


def test_without_motion_the_map_is_the_derivative() -> None:
    found = EvidenceHotspots(grader(), {}, 1)(volume(), YES)
    inside = volume()[0, 0, :, 8:48, 16:96]
    expected = torch.stack([2 * (inside - 0.6).clamp(min=0), 2 * (0.4 - inside).clamp(min=0)])
    torch.testing.assert_close(found.maps[0, :, :, 8:48, 16:96], expected)
    assert float(found.maps[0, :, :, :8].abs().max()) == 0.0  # the view does not reach there


def test_each_tasks_evidence_comes_back_to_its_place_and_slice() -> None:
    found = EvidenceHotspots(grader(input_size=(20, 40)), RANGES, 12)(volume(), YES)
    assert found.tasks == ("narrowing", "bulging")
    assert tuple(found.maps.shape) == (1, 2, *SIZE)
    for task, place in ((0, (1, 21.5, 71.5)), (1, (3, 35.5, 61.5))):
        slice_, row, column = peak(found.smoothed()[0, task])
        assert slice_ == place[0]
        assert abs(row - place[1]) <= 2
        assert abs(column - place[2]) <= 2
        others = [d for d in range(SIZE[0]) if d != slice_]
        # At the volume's edge a view shows the black around it.
        assert float(found.maps[0, task, others, 3:-3, 3:-3].max()) < 0.01


def test_the_grade_that_the_grader_gives_is_the_one_explained() -> None:
    found = EvidenceHotspots(grader(), {}, 1)(volume())
    assert found.grades == ((1, 1),)
    none = EvidenceHotspots(grader(), {}, 1)(volume(), [{"narrowing": 0, "bulging": 1}])
    assert float(none.maps[0, 0].max()) == 0.0
    assert torch.equal(none.maps[0, 1], found.maps[0, 1])


def test_a_map_does_not_depend_on_its_neighbors_and_is_drawn_alike_again() -> None:
    hotspots = EvidenceHotspots(grader(), RANGES, 3)
    other = torch.rand(1, 1, *SIZE)
    both = hotspots(torch.cat([other, volume()]), YES * 2)
    torch.testing.assert_close(both.maps[1:], hotspots(volume(), YES).maps)
    assert not torch.equal(EvidenceHotspots(grader(), RANGES, 3, seed=1)(other, YES).maps, both.maps[:1])


def test_only_the_slices_that_the_network_sees_have_evidence() -> None:
    found = EvidenceHotspots(grader(slices=3), {}, 1, tasks=["bulging"])(volume(), [{"bulging": 1}])
    assert [bool(found.maps[0, 0, d].any()) for d in range(5)] == [False, False, False, True, False]


def test_what_cannot_be_mapped_is_refused() -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        EvidenceHotspots(grader(), {}, 0)
    with pytest.raises(ValueError, match=r"tasks must be some of .* got \['modic'\]"):
        EvidenceHotspots(grader(), {}, 1, tasks=["modic"])
    hotspots = EvidenceHotspots(grader(), {}, 1)
    with pytest.raises(ValueError, match=r"grades must give bulging one of \(0, 1\), got 4"):
        hotspots(volume(), [{"narrowing": 0, "bulging": 4}])
    with pytest.raises(ValueError, match="for each of 1 discs, got 2"):
        hotspots(volume(), YES * 2)

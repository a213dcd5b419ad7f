"""Names by counting from the sacrum; expected values worked out by hand."""

from __future__ import annotations

import pytest

from siamed.pipeline.detection.naming import disc_level, name_levels


def levels(sacral: list[float], missing: list[int] | None = None) -> list[str | None]:
    guesses, _ = name_levels(sacral, missing if missing is not None else [0] * (len(sacral) - 1))
    return [g.level for g in guesses]


def test_counting_from_a_clear_sacrum() -> None:
    assert levels([0.0] * 6 + [0.95]) == ["T12", "L1", "L2", "L3", "L4", "L5", "S1"]


def test_a_clear_sacrum_gives_a_high_probability() -> None:
    guesses, warnings = name_levels([0.0] * 6 + [0.95], [0] * 6)
    assert min(g.probability for g in guesses) > 0.95
    assert warnings == []


def test_without_a_sacrum_no_name_is_given_and_the_reader_is_told() -> None:
    guesses, warnings = name_levels([0.0] * 6, [0] * 5)
    assert [g.level for g in guesses] == [None] * 6
    assert max(g.probability for g in guesses) < 0.5
    assert "sacrum is not seen" in warnings[0]


def test_s2_below_s1_shifts_nothing() -> None:
    assert levels([0.0, 0.0, 0.9, 0.9]) == ["L4", "L5", "S1", "S2"]


def test_a_gap_is_counted_lowers_the_probability_and_is_told() -> None:
    guesses, warnings = name_levels([0.0, 0.0, 0.0, 0.95], [0, 1, 0])
    assert [g.level for g in guesses] == ["L2", "L3", "L5", "S1"]
    assert guesses[1].probability < guesses[2].probability
    assert "between L3 and L5" in warnings[0]


def test_a_body_that_looks_half_sacral_is_flagged() -> None:
    guesses, warnings = name_levels([0.0, 0.0, 0.42, 0.9], [0, 0, 0])
    assert [g.flags for g in guesses] == [(), (), ("transitional",), ()]
    assert "transitional" in warnings[0]


def test_a_body_below_s1_is_not_called_transitional() -> None:
    guesses, warnings = name_levels([0.0, 0.0, 0.9, 0.9, 0.42], [0, 0, 0, 0])
    assert [g.level for g in guesses] == ["L4", "L5", "S1", "S2", "S3"]
    assert warnings == []


def test_no_bodies_no_names() -> None:
    assert name_levels([], []) == ([], [])


def test_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match=r"missing must have one entry less than sacral \(2\), got 2"):
        name_levels([0.0, 0.9], [0, 0])


def test_a_disc_is_named_by_both_neighbors_or_not_at_all() -> None:
    assert disc_level("L5", "S1") == "L5-S1"
    assert disc_level(None, "S1") is None

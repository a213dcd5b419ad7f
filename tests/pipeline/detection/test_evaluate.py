"""The contract of the detector's figures, on columns made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from toy.detection_oracle import column_corners

from siamed.pipeline.detection.evaluate import score_column, summarize
from siamed.pipeline.detection.vertebra import Column, Vertebra
from siamed.transforms.vertebral_bodies import BodyLabel

AFFINE = np.diag([4.0, 1.0, 1.0, 1.0])


def labels(count: int = 4) -> list[BodyLabel]:
    """S1 and ``count - 1`` bodies above it, in slices 0-2."""
    bodies = []
    for order, quad in enumerate(column_corners(count)[::-1]):
        bodies.append(
            BodyLabel(
                order, dict.fromkeys(range(3), quad), {d: quad.mean(0) for d in range(3)}, sacral=order == 0
            )
        )
    return bodies


def vertebra(quad: np.ndarray, level: str | None) -> Vertebra:
    corners = {d: np.column_stack([np.full(4, 4.0 * d), quad]) for d in range(3)}
    return Vertebra(level, 1.0, 1.0, False, corners, 1)


def column(names: list[str | None], shift: float = 0.0) -> Column:
    return Column(
        tuple(vertebra(q + shift, n) for q, n in zip(column_corners(len(names)), names, strict=True))
    )


def test_a_perfect_detection() -> None:
    score = score_column("a", column(["L3", "L4", "L5", "S1"]), labels(), AFFINE)
    assert (score.labelled, score.found, score.false, score.names_right, score.s1_found) == (
        3,
        3,
        0,
        True,
        True,
    )
    assert max(score.corner_errors_mm) == 0


def test_corner_errors_are_distances_in_mm() -> None:
    score = score_column("a", column(["L3", "L4", "L5", "S1"], shift=3.0), labels(), AFFINE)
    np.testing.assert_allclose(score.corner_errors_mm, 3 * np.sqrt(2))


def test_names_shifted_by_one_are_wrong() -> None:
    score = score_column("a", column(["L2", "L3", "L4", "L5"]), labels(), AFFINE)
    assert not score.names_right
    assert score.found == 3


def test_a_missed_body_is_not_found_and_an_extra_one_is_false() -> None:
    found = column(["L3", "L4", "L5", "S1"]).vertebrae
    stray = vertebra(column_corners(1, top=80.0, left=120.0)[0], None)
    twice = Column((*found[1:], stray, found[2]))
    score = score_column("a", twice, labels(), AFFINE)
    assert (score.found, score.false) == (2, 2)
    assert "missed L3" in score.notes


def test_a_body_above_the_labels_is_not_held_against_the_detector() -> None:
    score = score_column("a", column(["L2", "L3", "L4", "L5", "S1"], shift=-36.0 * 0), labels(4), AFFINE)
    assert score.false == 1  # the fifth body of the detection lies below the labelled S1, far from it
    above = Column(
        (vertebra(column_corners(1, top=-10.0)[0], "L2"), *column(["L3", "L4", "L5", "S1"]).vertebrae)
    )
    assert score_column("a", above, labels(), AFFINE).false == 0


def test_the_summary_pools_bodies_and_averages_scans() -> None:
    good = score_column("a", column(["L3", "L4", "L5", "S1"]), labels(), AFFINE)
    empty = score_column("b", Column(()), labels(), AFFINE)
    figures = summarize([good, empty])
    assert figures["found"] == pytest.approx(0.5)
    assert figures["scans_without_false"] == 1.0
    assert figures["s1_found"] == 0.5


def test_of_a_body_cut_by_the_upper_edge_what_is_in_view_is_compared() -> None:
    seen = np.array([[0.0, 60], [6.0, 94], [14.0, 94], [8.0, 60]])
    whole = seen - np.array(
        [[18.0, 0], [18.0, 0], [0, 0], [0, 0]]
    )  # its center lies above what the label shows
    bodies = [*labels(), BodyLabel(4, {1: seen}, {1: seen.mean(0)}, partial=True)]
    quads = [whole, *column_corners(4)]
    names = ["L2", "L3", "L4", "L5", "S1"]
    found = Column(tuple(vertebra(q, n) for q, n in zip(quads, names, strict=True)))
    score = score_column("a", found, bodies, AFFINE)
    assert (score.false, score.found, score.names_right, score.notes) == (0, 3, True, [])

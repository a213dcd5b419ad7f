"""Figures of a cross-validation by hand: ROC areas, normal or not, levels, repetition, a second reading."""

from __future__ import annotations

import numpy as np
import pytest

from siamed.pipeline.grading.calibration import GradeCalibration
from siamed.pipeline.grading.summary import (
    auc,
    by_level,
    by_rule,
    normal_or_not,
    repeatability,
    second_reading,
    summarize,
)
from siamed.pipeline.grading.tasks import TASKS


def rows_of(seed: int, truth: list[int], said: list[int], task: str = "pfirrmann") -> list[dict]:
    """A disc a patient, by turns of number 1 and 2; 0.6 on the grade given, the rest spread evenly."""
    rows, grades = [], TASKS[task]
    for n, (true, given) in enumerate(zip(truth, said, strict=True)):
        shares = np.full(len(grades), 0.4 / (len(grades) - 1))
        shares[grades.index(given)] = 0.6
        rows.append(
            {
                "fold": 0,
                "seed": seed,
                "task": task,
                "subject_id": f"p{n}",
                "case_id": f"c{n}",
                "disc": n % 2 + 1,
                "truth": true,
                "predicted": given,
                "probabilities": shares,
            }
        )
    return rows


def test_the_area_of_each_grade_is_the_chance_to_rank_a_pair_rightly() -> None:
    found = auc(rows_of(0, [1, 1, 2, 3], [1, 2, 2, 3]), "pfirrmann")
    # Of grade 1: one of its two discs is ahead of both others, the other level with the grade 3 disc and
    # the grade 2 disc (0.1 each). Of grade 2: its disc is ahead of two and level with one. Of 3: ahead.
    assert found == pytest.approx({"1": (2 + 1) / 4, "2": (2 + 0.5) / 3, "3": 1.0})
    assert auc(rows_of(0, [0, 1, 1], [0, 0, 1], "bulging"), "bulging") == pytest.approx({"1": 0.75})
    assert auc(rows_of(0, [0, 0], [0, 1], "bulging"), "bulging") == {}


def test_rules_that_make_one_grade_of_five_probabilities() -> None:
    rows = rows_of(0, [3, 3], [1, 1])
    rows[0]["probabilities"] = np.array([0.0, 0.4, 0.35, 0.25, 0.0])  # 2; expected 2.85; median 3
    rows[1]["probabilities"] = np.array([0.55, 0.0, 0.0, 0.0, 0.45])  # 1; expected 2.8; median 1
    found = by_rule(rows, "pfirrmann")
    assert list(found) == ["most probable", "expected", "median"]
    errors = [metrics["mean_absolute_error"] for metrics in found.values()]
    assert errors == pytest.approx([(1 + 2) / 2, 0.0, (0 + 2) / 2])


def test_normal_is_the_lowest_grade() -> None:
    found = normal_or_not(rows_of(0, [1, 1, 2, 5, 3], [1, 2, 5, 3, 1]), "pfirrmann")
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_levels_are_counted_from_the_lowest_disc_and_averaged_over_seeds() -> None:
    rows = rows_of(0, [1, 2, 3, 4], [1, 2, 3, 5]) + rows_of(1, [1, 2, 3, 4], [1, 3, 2, 5])
    found = by_level(rows, "pfirrmann")
    assert list(found) == ["1", "2"]
    assert [level["discs"] for level in found.values()] == [2, 2]
    assert found["1"]["balanced_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["2"]["balanced_accuracy"] == pytest.approx((0.5 + 0.0) / 2)
    summary = summarize(rows, "pfirrmann")
    assert summary["levels"] == found
    assert set(summary["auc"]) == {"1", "2", "3", "4"}
    assert summary["normal_or_not"]["accuracy"] == 1.0


def test_a_second_reading_is_held_against_the_labels_once_a_disc() -> None:
    rows = rows_of(0, [1, 2, 3, 4], [1] * 4) + rows_of(1, [1, 2, 3, 4], [1] * 4)
    second = {("p0", 1): {"pfirrmann": 1}, ("p1", 2): {"pfirrmann": 3}, ("p2", 1): {"bulging": 1}}
    found = second_reading(rows, second, "pfirrmann")
    assert found is not None
    assert (found["discs"], found["within_one"], found["balanced_accuracy"]) == (2, 1.0, 0.5)
    assert second_reading(rows, second, "bulging") is None


def test_repeated_scans_say_how_far_expected_grades_differ() -> None:
    rows = rows_of(0, [1, 2, 3], [1, 2, 3]) + rows_of(1, [1, 2, 3], [1, 2, 3])
    repeats = rows_of(0, [1, 2], [1, 4]) + rows_of(1, [1, 2], [2, 2])
    calibration = GradeCalibration(0.9, {}, {})
    found = repeatability(rows, repeats, ["pfirrmann", "bulging"], calibration)
    # Expected grades move by half the step: 0.6 lies on the grade, 0.1 on each of the others.
    assert found == {
        "pfirrmann": {
            "pairs": 4,
            "discs": 2,
            "median": pytest.approx(0.25),
            "percentile_95": pytest.approx(np.percentile([0.0, 1.0, 0.5, 0.0], 95)),
        }
    }

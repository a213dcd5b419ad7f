"""Figures of an experiment, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from siamed.pipeline.label_efficiency.statistics import Scores, adjust, labels_saved, reach, summarize


def share(summed: np.ndarray) -> np.ndarray:
    """Right out of all."""
    return summed[..., 0] / summed[..., 1]


def scores(right: dict[str, list[list[list[int]]]], of: int = 4) -> Scores:
    """Arm -> budget -> seed -> right ones of each subject, out of four."""
    sums = {
        (arm, place): np.stack([np.array(budget), np.full(np.shape(budget), of)], axis=-1).astype(float)
        for arm, budgets in right.items()
        for place, budget in enumerate(budgets)
    }
    budgets = len(next(iter(right.values())))
    return Scores(tuple(right), tuple(10.0 * 2**i for i in range(budgets)), sums)


def test_a_curve_reaches_a_target_between_its_points() -> None:
    assert reach([10, 20, 40], [0.4, 0.5, 0.7], 0.55) == pytest.approx(25)
    assert reach([10, 20, 40], [0.6, 0.5, 0.7], 0.55) == 10  # the smallest budget is enough
    assert reach([10, 20, 40], [0.4, 0.5, 0.7], 0.71) == float("inf")
    assert labels_saved([10, 20, 40], [0.4, 0.5, 0.7], 0.55) == pytest.approx(1 - 25 / 40)
    assert labels_saved([10, 20, 40], [0.4, 0.5, 0.7], 0.7) == pytest.approx(0)


def test_means_differences_and_savings() -> None:
    # Two subjects, two seeds, four cases each. Scratch: 0.25, 0.5; other: 0.5, 0.75.
    found = summarize(
        scores(
            {"scratch": [[[1, 1], [1, 1]], [[2, 2], [1, 3]]], "other": [[[2, 2], [1, 3]], [[3, 3], [4, 2]]]}
        ),
        share,
        "scratch",
        draws=200,
    )
    scratch, other = (found["arms"][name] for name in ("scratch", "other"))
    assert [row["mean"] for row in scratch["budgets"]] == [0.25, 0.5]
    assert [row["mean"] for row in other["budgets"]] == [0.5, 0.75]
    assert [row["difference"] for row in other["budgets"]] == [0.25, 0.25]
    assert other["budgets"][1]["seeds"] == [0.75, 0.75]
    reached = other["reaches_reference"]
    assert reached["target"] == 0.5
    assert reached["subjects"] == 10
    assert reached["saved"] == pytest.approx(0.5)
    assert reached["with_the_smallest_budget"] is True
    assert "difference" not in scratch["budgets"][0]
    assert scratch["reaches_reference"]["saved"] == 0
    assert found["subjects_scored"] == 2
    assert found["seeds"] == 2


def test_an_arm_that_never_gets_there_saves_nothing_and_says_so() -> None:
    right = {"scratch": [[[2] * 6], [[4] * 6]], "weak": [[[1] * 6], [[1] * 6]]}
    reached = summarize(scores(right), share, "scratch", draws=50)["arms"]["weak"]["reaches_reference"]
    assert reached["subjects"] is None
    assert reached["saved"] is None
    assert reached["share_of_draws_that_reach_it"] == 0
    assert reached["saved_interval_95"] == [0, 0]


def test_the_paired_test_is_exact_where_it_can_be_counted() -> None:
    # Ten subjects, one arm always right and one always wrong: of 1024 exchanges two differ as much.
    found = summarize(scores({"good": [[[4] * 10]], "bad": [[[0] * 10]]}), share, "bad", draws=20000)
    assert found["arms"]["good"]["budgets"][0]["p"] == pytest.approx(2 / 1024, abs=0.001)
    alike = summarize(scores({"a": [[[1, 2, 3]]], "b": [[[1, 2, 3]]]}), share, "b", draws=100)
    row = alike["arms"]["a"]["budgets"][0]
    assert row["p"] == 1
    assert row["difference_interval_95"] == [0, 0]


def test_a_difference_is_surer_than_its_parts_where_subjects_agree() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 4, 60)
    row = summarize(scores({"a": [[(base + 1).tolist()]], "b": [[base.tolist()]]}), share, "b", draws=500)[
        "arms"
    ]["a"]["budgets"][0]
    low, high = row["interval_95"]
    assert high - low > 0.1  # subjects differ
    assert row["difference_interval_95"] == pytest.approx([0.25, 0.25])  # the arms differ alike in each


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(120):
        right = rng.binomial(4, 0.6, (1, 40))
        low, high = summarize(scores({"a": [right.tolist()]}), share, "a", draws=200, seed=trial)["arms"][
            "a"
        ]["budgets"][0]["interval_95"]
        inside += low <= 0.6 <= high
    assert 104 <= inside <= 120  # 114 of 120 expected, 104 is four standard deviations below


def test_tests_of_a_table_are_adjusted_together() -> None:
    right = {"b": [[[1] * 8]] * 2, "x": [[[4] * 8]] * 2, "y": [[[1] * 8]] * 2}
    arms = summarize(scores(right), share, "b", draws=2000)["arms"]
    raw = [row["p"] for arm in ("x", "y") for row in arms[arm]["budgets"]]
    adjusted = [row["p_adjusted"] for arm in ("x", "y") for row in arms[arm]["budgets"]]
    assert raw[2:] == [1, 1] == adjusted[2:]
    # Benjamini and Hochberg: the second smallest of four times 4 / 2, and never below the smaller ones.
    assert adjusted[:2] == pytest.approx([2 * max(raw[:2])] * 2)


def test_sums_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one array of one shape for each arm and budget, got 1"):
        Scores(("a", "b"), (10.0,), {("a", 0): np.zeros((1, 2, 2))})
    with pytest.raises(ValueError, match="must rise"):
        Scores(("a",), (10.0, 10.0), {("a", 0): np.zeros((1, 2, 2)), ("a", 1): np.zeros((1, 2, 2))})


def test_a_part_is_summarized_as_if_it_stood_alone_and_p_is_adjusted_over_all_parts() -> None:
    rng = np.random.default_rng(0)
    right = {arm: rng.integers(0, 5, (2, 12)) for arm in "ab"}
    alone = scores({arm: [values.tolist()] for arm, values in right.items()})
    both = Scores(
        alone.arms, alone.subjects_labelled, {k: np.stack([v[:, ::-1], v], 2) for k, v in alone.sums.items()}
    )
    first, second = (summarize(both.part(place), share, "a", draws=200) for place in range(2))
    assert second == summarize(alone, share, "a", draws=200)
    tests = [summary["arms"]["b"]["budgets"][0] for summary in (first, second)]
    assert [test["p_adjusted"] for test in tests] == [test["p"] for test in tests]  # one test a table
    tests[0]["p"], tests[1]["p"] = 0.01, 0.04
    adjust([first, second])
    assert [test["p_adjusted"] for test in tests] == pytest.approx([0.02, 0.04])

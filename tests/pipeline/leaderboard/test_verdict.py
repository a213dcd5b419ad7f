"""Words say what the tests say, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from siamed.pipeline.leaderboard.verdict import (
    few_words,
    pool_words,
    ranked,
    short_verdict,
    verdict_lines,
)


def summary(subjects: int = 40, counts: tuple[float, ...] = (2, 4), **tasks: Any) -> dict[str, Any]:
    """Scratch at 0.6, 0.7, ...; a task at each budget: difference, adjusted p[, half the interval]."""
    own = [0.6 + 0.1 * place for place in range(len(counts))]
    arms: dict[str, Any] = {"scratch": {"budgets": [{"mean": mean} for mean in own]}}
    for task, found in tasks.items():
        rows = [
            {
                **{"mean": mean + gap, "difference": gap, "p_adjusted": p},
                "difference_interval_95": [gap - half, gap + half],
            }
            for mean, (gap, p, half) in zip(own, ((*cell, 0.005)[:3] for cell in found), strict=True)
        ]
        reached = {"target": 0.7, "saved": 0.5, "with_the_smallest_budget": True}
        arms[task] = {"budgets": rows, "reaches_reference": {**reached, "saved_interval_95": [0.15, 0.5]}}
    return {
        "measure": "Dice",
        "reference": "scratch",
        "seeds": 3,
        "subjects_scored": subjects,
        "subjects_labelled": list(counts),
        "arms": arms,
    }


def test_a_win_a_harm_and_the_rest_each_have_their_sentence() -> None:
    found = summary(
        relative_position=[(-0.1, 0.002), (-0.05, 0.0004)],
        in_painting=[(0.02, 0.3), (-0.01, 0.8)],
        rotation=[(0.09, 0.01), (0.01, 0.6)],
        masked_pixels=[(-0.03, 0.05), (0.0, 1.0)],
    )
    assert ranked(found) == ["rotation", "in_painting", "masked_pixels", "relative_position"]
    assert verdict_lines(found) == [
        "rotation is ahead: at 2 subjects Dice 0.690 against 0.600 from scratch (p 0.010); no difference "
        "beyond chance at 4; labels saved: at least 50 % (15 to 50).",
        "relative_position is behind: at 2 subjects Dice 0.500 against 0.600 from scratch (p 0.002), at 4 "
        "subjects Dice 0.650 against 0.700 from scratch (p < 0.001).",
        "No difference from training from scratch beyond chance: in_painting, masked_pixels.",
    ]
    assert [short_verdict(found, task) for task in ranked(found)] == [
        "ahead at 2",
        "no difference beyond chance",
        "no difference beyond chance",
        "behind at 2 and 4",
    ]


def test_where_nothing_wins_the_largest_difference_is_told_and_not_claimed() -> None:
    found = summary(rotation=[(0.01, 0.9), (0.03, 0.2)], in_painting=[(-0.1, 0.06), (0.02, 0.5)])
    assert verdict_lines(found) == [
        "No task beats training from scratch beyond chance at 2 or 4 labelled subjects; the largest "
        "difference is that of rotation at 4: +0.030 (+0.025 to +0.035, p 0.200)."
    ]


def test_a_harm_alone_stands_behind_the_sentence_that_nothing_wins() -> None:
    lines = verdict_lines(summary(rotation=[(-0.2, 0.01), (-0.1, 0.3)]))
    assert lines == [
        "No task beats training from scratch beyond chance at 2 or 4 labelled subjects; none lies above it "
        "at all.",
        "rotation is behind: at 2 subjects Dice 0.400 against 0.600 from scratch (p 0.010); no difference "
        "beyond chance at 4.",
    ]


def test_a_task_may_win_with_few_labels_and_harm_with_more() -> None:
    found = summary(rotation=[(0.1, 0.01), (-0.1, 0.01)])
    assert short_verdict(found, "rotation") == "ahead at 2, behind at 4"
    assert verdict_lines(found) == [
        "rotation is ahead: at 2 subjects Dice 0.700 against 0.600 from scratch (p 0.010); it is behind: at "
        "4 subjects Dice 0.600 against 0.700 from scratch (p 0.010); labels saved: at least 50 % (15 to 50)."
    ]


def test_what_may_be_the_luck_of_a_training_is_not_claimed() -> None:
    # The test is over subjects, the interval over subjects and seeds.
    found = summary(rotation=[(0.02, 0.01, 0.021), (-0.02, 0.01, 0.019)])
    assert short_verdict(found, "rotation") == "behind at 4"
    assert verdict_lines(found)[0] == (
        "No task beats training from scratch beyond chance at 2 or 4 labelled subjects; the largest "
        "difference is that of rotation at 2: +0.020 (-0.001 to +0.041, p 0.010)."
    )


def test_with_one_budget_nothing_is_said_of_others() -> None:
    assert verdict_lines(summary(counts=(1,), rotation=[(0.1, 0.01)])) == [
        "rotation is ahead: at 1 subject Dice 0.700 against 0.600 from scratch (p 0.010)."
    ]
    assert verdict_lines(summary(counts=(1,), rotation=[(0.1, 0.4)])) == [
        "No task beats training from scratch beyond chance at 1 labelled subject; the largest difference is "
        "that of rotation at 1: +0.100 (+0.095 to +0.105, p 0.400)."
    ]


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        (40, "40 subjects scored, 3 seeds."),
        (12, "12 subjects scored, 3 seeds. These are few: a difference that is not found may well be there."),
        # Two of the 2 ** 5 exchanges of five subjects are as large as the largest difference: p 0.0625.
        (
            5,
            "5 subjects scored, 3 seeds. With so few subjects no difference, however large, can be told from "
            "chance.",
        ),
    ],
)
def test_small_numbers_of_subjects_are_named(subjects: int, words: str) -> None:
    assert few_words(summary(subjects)) == words


def test_a_single_training_is_no_proof() -> None:
    assert few_words(summary() | {"seeds": 1}) == (
        "40 subjects scored, 1 seed. The test is over subjects: with 1 seed a difference may be the luck of "
        "a training."
    )


def test_it_is_said_whether_scored_subjects_were_in_the_pool() -> None:
    assert pool_words([["a", "b"], ["c", "d"]], [["c"], ["a"]], "draw") == (
        "The unlabelled pool of each draw: its 2 training subjects; no scored subject was in it."
    )
    assert pool_words([["a", "b"], ["c"]], [["c"], ["a"]]) == (
        "The unlabelled pool of each fold: its 1 to 2 training subjects; no scored subject was in it."
    )
    assert pool_words([["a", "b", "c"], ["a", "c", "x"]], [["c", "d"], ["a", "b"]], "draw", "more.json") == (
        "The unlabelled pool of each draw: the 3 training subjects of more.json; 2 of the 4 scored subjects "
        "were in it, without labels: what is scored has been pretrained on, and other patients may fare "
        "worse."
    )

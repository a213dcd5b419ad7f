"""What is shown of an experiment says what was found."""

from __future__ import annotations

from typing import Any

import pytest

from siamed.pipeline.label_efficiency.figures import (
    draw_curves,
    draw_epochs,
    draw_parts,
    markdown_parts,
    markdown_table,
)


def row(mean: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "interval_95": [mean - 0.1, mean + 0.1], **more}


def summary(saved: float | None, first: bool = False, own: float = 0.0) -> dict[str, Any]:
    reached = {
        "target": 0.6,
        "saved": saved,
        "with_the_smallest_budget": first,
        "saved_interval_95": [0.1, 0.5],
    }
    return {
        "reference": "scratch",
        "seeds": 3,
        "subjects_scored": 50,
        "subjects_labelled": [14.0, 144.0],
        "arms": {
            "scratch": {"budgets": [row(0.4), row(0.6)], "reaches_reference": {**reached, "saved": own}},
            "same_person": {
                "budgets": [
                    row(0.5, difference=0.1, p_adjusted=0.0004),
                    row(0.59, difference=-0.01, p_adjusted=0.7),
                ],
                "reaches_reference": reached,
            },
        },
    }


def test_the_table_has_a_row_an_arm_and_a_column_a_budget() -> None:
    lines = markdown_table(summary(0.4), ["10%", "100%"], "accuracy").splitlines()
    assert lines[0].startswith("accuracy: mean of 3 seeds over 50 held-out subjects")
    assert lines[2] == "| arm | 10% (14) | 100% (144) | labels saved |"
    assert lines[4] == "| scratch | 0.400 (0.300 to 0.500) | 0.600 (0.500 to 0.700) | reference |"
    assert lines[5] == (
        "| same person | 0.500 (0.400 to 0.600); +0.100, p < 0.001 | 0.590 (0.490 to 0.690); -0.010, p 0.700 "
        "| 40 % (10 to 50) |"
    )


def test_with_one_budget_nothing_can_be_saved() -> None:
    one = summary(0.4)
    one["subjects_labelled"] = [144.0]
    for entry in one["arms"].values():
        del entry["budgets"][0]
    lines = markdown_table(one, ["100%"], "accuracy").splitlines()
    assert lines[2:5] == [
        "| arm | 100% (144) |",
        "|---|---|",
        "| scratch | 0.600 (0.500 to 0.700) |",
    ]


def test_what_an_arm_saves_is_put_into_words() -> None:
    assert "at least 90 % (10 to 50) |" in markdown_table(
        summary(0.9, first=True), ["10%", "100%"], "accuracy"
    )
    assert "| reference, itself there with 50 % fewer |" in markdown_table(
        summary(0.4, own=0.5), ["10%", "100%"], "accuracy"
    )
    assert "| does not reach 0.600 |" in markdown_table(summary(None), ["10%", "100%"], "accuracy")


def test_the_plot_has_a_curve_an_arm_and_the_references_best() -> None:
    axes = draw_curves(summary(0.4), "accuracy", "trial").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["scratch", "same person"]
    assert axes.get_ylabel() == "accuracy"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["14", "144"]
    level = [line for line in axes.lines if len(set(line.get_ydata())) == 1 and line.get_ydata()[0] == 0.6]
    assert level


def test_parts_have_a_row_each_and_a_column_an_arm() -> None:
    lines = markdown_parts({"upper_endplate": summary(0.4), "modic": summary(None)}, "100%", "accuracy")
    assert lines.splitlines()[2:] == [
        "| | scratch | same person |",
        "|---|---|---|",
        "| upper endplate | 0.600 (0.500 to 0.700) | 0.590 (0.490 to 0.690); -0.010, p 0.700 |",
        "| modic | 0.600 (0.500 to 0.700) | 0.590 (0.490 to 0.690); -0.010, p 0.700 |",
    ]


def test_parts_are_drawn_with_the_most_labels() -> None:
    figure = draw_parts({"upper_endplate": summary(0.4), "modic": summary(None)}, "accuracy", "grades")
    (axes,) = figure.axes
    heights = [container.lines[0].get_ydata().tolist() for container in axes.containers]
    assert heights == [[0.6, 0.6], [0.59, 0.59]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["upper endplate", "modic"]


def test_learning_is_drawn_as_the_mean_of_folds_and_seeds() -> None:
    watched = {"scratch": {2: [0.2, 0.4], 1: [0.1, 0.1]}, "sides": {1: [0.5], 2: [0.6]}}
    (axes,) = draw_epochs(watched, "dice", "kidneys", "scratch").axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2], [1, 2]]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.1, pytest.approx(0.3)], [0.5, 0.6]]
    assert axes.lines[0].get_linestyle() == "--"

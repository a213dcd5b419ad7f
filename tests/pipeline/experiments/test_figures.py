"""Figures show the numbers they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from matplotlib.backends.backend_agg import FigureCanvasAgg

from siamed.pipeline.experiments.figures import ConfusionMatrix, health_curves, loss_curves


def run(figure: ConfusionMatrix, batches: list[Any]) -> None:
    evaluator = Engine(lambda engine, batch: batch)
    figure.attach(evaluator)
    evaluator.run(batches, epoch_length=len(batches))


def test_rows_are_true_classes_and_unknown_ones_are_left_out() -> None:
    matrix = ConfusionMatrix(["1", "2", "3"], output_transform=lambda output: output)
    run(matrix, [([0, 1, 1], [0, 2, -1]), ([2], [1])])
    assert matrix.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_a_new_validation_starts_from_zero() -> None:
    matrix = ConfusionMatrix(["1", "2"], output_transform=lambda output: output)
    for _ in range(2):
        run(matrix, [([0, 1], [0, 1])])
    assert matrix.counts.tolist() == [[1, 0], [0, 1]]


def test_batches_and_decollated_lists_of_monai_count_the_same() -> None:
    pred, label = torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])
    batch = {"pred": pred, "label": label}
    items = [{"pred": p, "label": t} for p, t in zip(pred, label, strict=True)]
    counts = []
    for output in (batch, items):
        matrix = ConfusionMatrix(["left", "right"])
        run(matrix, [output])
        counts.append(matrix.counts.tolist())
    assert counts == [[[0, 0], [1, 1]]] * 2


def test_the_drawn_cells_carry_their_counts() -> None:
    matrix = ConfusionMatrix(["1", "2"], output_transform=lambda output: output)
    run(matrix, [([0, 0, 1], [0, 1, 1])])
    (axes,) = matrix(None).axes
    assert [text.get_text() for text in axes.texts] == ["1", "0", "1", "1"]


def test_curves_keep_epochs_apart_from_those_without_validation() -> None:
    history = [
        {"epoch": 1, "train_loss": 2.0, "lr": 0.1},
        {"epoch": 2, "train_loss": 1.0, "lr": 0.1, "val_dice": 0.5, "val_loss": 1.5},
    ]
    loss, validation, rate = loss_curves(history).axes
    lines = {line.get_label(): np.column_stack(line.get_data()).tolist() for line in loss.lines}
    assert lines == {"train_loss": [[1, 2.0], [2, 1.0]], "val_loss": [[2, 1.5]]}
    assert validation.lines[0].get_xydata().tolist() == [[2, 0.5]]
    assert rate.get_yscale() == "log"


def test_an_empty_history_is_an_empty_figure() -> None:
    assert [len(axes.lines) for axes in loss_curves([]).axes] == [0]


def test_health_has_a_panel_for_each_kind_of_number_that_there_is() -> None:
    history = [
        {"epoch": 1, "train_loss": 2.0, "train_gradient_norm": 10.0},
        {
            "epoch": 2,
            "train_gradient_norm": 0.1,
            "val_score": 0.8,
            "val_chance": 0.25,
            "val_feature_spread": 0.3,
            "val_effective_rank": 12.0,
            "val_uniformity": -1.5,
        },
    ]
    figure = health_curves(history)
    score, norm, spread, uniformity, rank = figure.axes
    assert {line.get_label(): line.get_linestyle() for line in score.lines} == {
        "val_score": "-",
        "val_chance": "--",
    }
    assert norm.lines[0].get_xydata().tolist() == [[1, 10.0], [2, 0.1]]
    assert norm.get_yscale() == "log"
    assert [line.get_label() for line in spread.lines] == ["val_feature_spread"]
    assert rank.lines[0].get_xydata().tolist() == [[2, 12.0]]
    assert [text.get_text() for text in spread.get_legend().texts] == [
        "val_feature_spread",
        "val_effective_rank",
    ]
    assert [line.get_label() for line in uniformity.lines] == ["val_uniformity"]


@pytest.mark.parametrize("norms", [[0.0], [float("nan")], [float("inf"), 1.0]])
def test_health_is_drawn_of_gradients_that_are_gone_or_no_numbers(norms: list[float]) -> None:
    figure = health_curves([{"epoch": n, "train_gradient_norm": norm} for n, norm in enumerate(norms)])
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    assert axes.get_title() == "gradient norm"


def test_health_without_a_number_is_an_empty_figure() -> None:
    (axes,) = health_curves([{"epoch": 1, "train_loss": 1.0}]).axes
    assert list(axes.lines) == []

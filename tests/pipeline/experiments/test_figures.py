"""Figures show the numbers they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ignite.engine import Engine

from siamed.pipeline.experiments.figures import ConfusionMatrix, loss_curves


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

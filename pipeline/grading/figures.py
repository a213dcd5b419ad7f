"""Pictures of grading: the confusion matrix of one task, reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from siamed.pipeline.experiments.figures import ConfusionMatrix

from .calibration import GradeCalibration, reliability
from .tasks import TASKS, class_counts, given_classes

__all__ = ["TaskConfusion", "draw_reliability"]


class TaskConfusion(ConfusionMatrix):
    """The confusion matrix of one task of a network's scores.

    Args:
        tasks: tasks of the network, in order.
        task: the one drawn.
    """

    def __init__(self, tasks: Sequence[str], task: str) -> None:
        self.classes, self.index = class_counts(tasks), list(tasks).index(task)
        self.task = task
        super().__init__([str(g) for g in TASKS[task]], self._pick, f"{task.replace('_', ' ')} grade")

    def _pick(self, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
        scores = output["pred"].split(self.classes, dim=1)[self.index]
        given = given_classes(self.task, scores.float().softmax(1).cpu().numpy())
        return torch.from_numpy(given), output["label"][:, self.index].cpu()


def draw_reliability(
    folds: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], calibration: GradeCalibration
) -> Figure:
    """Share of right grades over the probability they were given with, before and after the temperature.

    Args:
        folds: task -> for each fold its probabilities ``(N, C)`` and true classes ``(N,)``.
        calibration: fitted on them.
    """
    columns = 4
    figure = Figure(figsize=(3 * columns, 3 * -(-len(folds) // columns)), layout="constrained")
    for number, (task, parts) in enumerate(folds.items(), start=1):
        shares, truth = (np.concatenate(values) for values in zip(*parts, strict=True))
        axes = figure.add_subplot(-(-len(folds) // columns), columns, number)
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, given in (("network", shares), ("calibrated", calibration.probabilities(task, shares))):
            said, was, weight = reliability(given, truth).T
            axes.plot(said, was, linewidth=1, label=name)
            axes.scatter(said, was, 120 * weight)
        axes.set(xlim=(0, 1), ylim=(0, 1), title=task.replace("_", " "), xlabel="probability", ylabel="right")
        if number == 1:
            axes.legend(fontsize="small")
    return figure

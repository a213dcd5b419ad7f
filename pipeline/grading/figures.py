"""Pictures of grading: the confusion matrix of one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from siamed.pipeline.experiments.figures import ConfusionMatrix

from .tasks import TASKS, class_counts

__all__ = ["TaskConfusion"]


class TaskConfusion(ConfusionMatrix):
    """The confusion matrix of one task of a network's scores.

    Args:
        tasks: tasks of the network, in order.
        task: the one drawn.
    """

    def __init__(self, tasks: Sequence[str], task: str) -> None:
        self.classes, self.index = class_counts(tasks), list(tasks).index(task)
        super().__init__([str(g) for g in TASKS[task]], self._pick, f"{task.replace('_', ' ')} grade")

    def _pick(self, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
        scores = output["pred"].split(self.classes, dim=1)[self.index]
        return scores.argmax(1).cpu(), output["label"][:, self.index].cpu()

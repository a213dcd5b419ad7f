"""Loss of several gradings at once, class-balanced, with missing labels.

``L = sum_t w_t * mean_n( - alpha_{t,c_n} log p_t(c_n | x_n) )`` over the labelled n of task t, with class
weights ``alpha_c = freq(c)^-k``, normalized so that their mean over the training labels is 1
[jamaludin2016spinenet, Sec. 2]; k = 1 in the paper, smaller k tempers the balance [D-0036]. For a graded
scale the label may be softened to a Gaussian over neighboring grades, since readers differ by one grade
[D-0036].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["MISSING", "MultiTaskLoss", "class_weights"]

MISSING = -1


def class_weights(labels: Sequence[int] | np.ndarray, classes: int, power: float) -> list[float]:
    """Weights ``freq(c)^-power`` with mean 1 over the labels; a class that never occurs gets 1.

    Args:
        labels: class indices from 0, ``MISSING`` where unknown: of the training part alone.
        classes: number of classes.
        power: 1 balances fully, 0 not at all.
    """
    known = np.asarray(labels)[np.asarray(labels) != MISSING]
    counts = np.bincount(known, minlength=classes).astype(float)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    mean = float((weights * counts).sum() / counts.sum()) if counts.sum() else 1.0
    return [float(w / mean) if c else 1.0 for w, c in zip(weights, counts, strict=True)]


class MultiTaskLoss(nn.Module):
    """Weighted sum of the tasks' class-balanced softmax losses.

    Args:
        classes: classes of each task, in the order of the scores.
        weights: class weights of each task, see :func:`class_weights`.
        task_weights: w_t.
        softness: for each task the standard deviation, in grades, of the softened label; 0 keeps it hard.

    Shape:
        - input ``(B, sum(classes))`` scores;
        - target ``(B, T)`` class indices from 0, ``MISSING`` where unknown;
        - output: scalar; 0 (with a gradient of 0) where nothing is labelled.
    """

    def __init__(
        self,
        classes: Sequence[int],
        weights: Sequence[Sequence[float]],
        task_weights: Sequence[float],
        softness: Sequence[float],
    ) -> None:
        super().__init__()
        if not len(classes) == len(weights) == len(task_weights) == len(softness):
            raise ValueError(
                "classes, weights, task_weights and softness must have one entry a task, got "
                f"{len(classes)}, {len(weights)}, {len(task_weights)} and {len(softness)}"
            )
        self.classes, self.task_weights = [int(c) for c in classes], [float(w) for w in task_weights]
        for index, (count, given, soft) in enumerate(zip(classes, weights, softness, strict=True)):
            if len(given) != count:
                raise ValueError(f"weights of task {index} must have {count} entries, got {len(given)}")
            self.register_buffer(
                f"weight_{index}", torch.tensor(list(given), dtype=torch.float32), persistent=False
            )
            self.register_buffer(f"target_{index}", _soft_targets(int(count), float(soft)), persistent=False)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = input.sum() * 0
        for index, scores in enumerate(input.split(self.classes, dim=1)):
            known = target[:, index] != MISSING
            if self.task_weights[index] == 0 or not known.any():
                continue
            label = target[known, index].long()
            log_p = functional.log_softmax(scores[known].float(), dim=1)
            entropy = -(self.get_buffer(f"target_{index}")[label] * log_p).sum(1)
            total = (
                total
                + self.task_weights[index] * (self.get_buffer(f"weight_{index}")[label] * entropy).mean()
            )
        return total


def _soft_targets(classes: int, softness: float) -> torch.Tensor:
    if softness <= 0:
        return torch.eye(classes)
    grades = torch.arange(classes, dtype=torch.float32)
    weight = torch.exp(-((grades[:, None] - grades[None]) ** 2) / (2 * softness**2))
    return weight / weight.sum(1, keepdim=True)

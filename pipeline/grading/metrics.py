"""How well grades agree with a reader's.

Contract. Grades are counted as their standard counts them; both arrays hold one entry a disc and no missing
label.

balanced accuracy
    mean over the grades that occur of the share rightly graded; "average per-class accuracy" of
    [jamaludin2016spinenet, Sec. 4].
within one
    share of discs graded at most one step away.
kappa
    Cohen's kappa with quadratic weights; nan where both hold one and the same grade only.
mean absolute error
    in grades.

Intervals are percentiles of a bootstrap over patients, who are drawn whole: discs of one patient are alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from sklearn.metrics import cohen_kappa_score

from .tasks import MISSING, TASKS, class_counts, given_classes

__all__ = [
    "METRICS",
    "GradeAgreement",
    "GradeAgreementMetric",
    "balanced_accuracy",
    "bootstrap_intervals",
    "confusion",
    "grade_metrics",
]

METRICS = ("balanced_accuracy", "within_one", "kappa", "mean_absolute_error")


def balanced_accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the true grades of the share rightly graded."""
    return float(np.mean([(predicted[true == grade] == grade).mean() for grade in np.unique(true)]))


def grade_metrics(
    true: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray
) -> dict[str, float]:
    """All metrics of the module's contract.

    Raises:
        ValueError: if the two differ in length, or are empty.
    """
    truth, given = np.asarray(true, int), np.asarray(predicted, int)
    if truth.shape != given.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"true and predicted must be alike and not empty, got shapes {truth.shape} and {given.shape}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one grade only: kappa is nan, and says so itself
        kappa = float(cohen_kappa_score(truth, given, weights="quadratic"))
    return {
        "balanced_accuracy": balanced_accuracy(truth, given),
        "within_one": float((np.abs(truth - given) <= 1).mean()),
        "kappa": kappa,
        "mean_absolute_error": float(np.abs(truth - given).mean()),
    }


def bootstrap_intervals(
    true: np.ndarray,
    predicted: np.ndarray,
    subjects: Sequence[str],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Intervals of :func:`grade_metrics`, patients drawn with replacement.

    Args:
        true: grades.
        predicted: grades.
        subjects: the patient of each disc.
        draws: number of bootstrap samples.
        seed: of the draws.
        level: share of the samples inside.
    """
    names, places = np.unique(np.asarray(subjects), return_inverse=True)
    members = [np.flatnonzero(places == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(draws):
        drawn = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        samples.append(list(grade_metrics(np.asarray(true)[drawn], np.asarray(predicted)[drawn]).values()))
    tail = 50 * (1 - level)
    bounds = np.nanpercentile(np.array(samples), [tail, 100 - tail], axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(METRICS, *bounds, strict=True)}


def confusion(true: np.ndarray, predicted: np.ndarray, task: str) -> np.ndarray:
    """Counts ``(true grade, predicted grade)`` in the order of the task's grades."""
    grades = TASKS[task]
    counts = np.zeros((len(grades),) * 2, int)
    np.add.at(counts, ([grades.index(t) for t in true], [grades.index(p) for p in predicted]), 1)
    return counts


class GradeAgreement(CumulativeIterationMetric):
    """One metric of the contract for one task of a network's scores.

    Args:
        tasks: tasks of the network, in order.
        task: the one looked at.
        metric: a key of :func:`grade_metrics`.

    Shape:
        - y_pred: ``(B, sum(classes))`` scores;
        - y: ``(B, T)`` class indices, ``MISSING`` where unknown.
    """

    def __init__(self, tasks: Sequence[str], task: str, metric: str) -> None:
        super().__init__()
        if task not in tasks:
            raise ValueError(f"task must be one of {list(tasks)}, got {task!r}")
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {METRICS}, got {metric!r}")
        self.classes, self.index = class_counts(tasks), list(tasks).index(task)
        self.task, self.metric = task, metric

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        scores = y_pred.split(self.classes, dim=1)[self.index]
        given = given_classes(self.task, scores.float().softmax(1).cpu().numpy())
        return torch.stack([torch.from_numpy(given), y[:, self.index].cpu()], dim=1)

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """The metric over all labelled discs seen; nan where there is none."""
        buffer = self.get_buffer()
        if buffer is None:
            return torch.tensor(float("nan"))
        pairs = buffer.cpu().numpy()
        pairs = pairs[pairs[:, 1] != MISSING]
        return torch.tensor(
            grade_metrics(pairs[:, 1], pairs[:, 0])[self.metric] if len(pairs) else float("nan")
        )


class GradeAgreementMetric(IgniteMetricHandler):
    """:class:`GradeAgreement` for the metrics of a MONAI evaluator; same arguments."""

    def __init__(self, tasks: Sequence[str], task: str, metric: str) -> None:
        agreement = GradeAgreement(tasks, task, metric)
        super().__init__(
            metric_fn=agreement, output_transform=from_engine(["pred", "label"]), save_details=False
        )

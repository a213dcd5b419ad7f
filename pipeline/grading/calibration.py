"""From a grader's probabilities to ones that can be trusted: temperatures, and sets of grades.

temperature
    a task's probabilities to the power of 1/T, normalized again [guo2017calibration]: T above 1 where the
    network is too sure. It changes no grade.
set
    the grades whose probability reaches the task's threshold, and the grade itself: the split conformal sets
    of the least size [sadinle2019least]. The threshold is such that the true grade is in the set of 90 % of
    discs; that holds for discs drawn as the calibration's were, over all grades together, not for each one.
expected calibration error
    mean distance, over ten bins of the grade's probability, of that probability from the share of right
    grades [guo2017calibration].

Both are fitted on patients whom the networks have not seen, and tried on folds that the fit left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from siamed.pipeline.experiments.files import read_json, write_json

from .tasks import TASKS, given_classes

__all__ = [
    "GradeCalibration",
    "calibration_figures",
    "expected_calibration_error",
    "fit_grade_calibration",
    "reliability",
    "repeated_differences",
]

_SCHEMA = "siamed/grade_calibration/1"
_BINS = 10
_LEAST = 1e-6


@dataclass(frozen=True)
class GradeCalibration:
    """Fitted temperatures and thresholds.

    Args:
        level: share of discs whose set shall hold the true grade.
        temperature: by task.
        threshold: by task, for probabilities after the temperature.
        repeatability: by task, the 95th percentile of how far the expected grades of a disc differ when it is
            scanned and graded twice on one day.
    """

    level: float
    temperature: Mapping[str, float]
    threshold: Mapping[str, float]
    repeatability: Mapping[str, float] = field(default_factory=dict)

    def probabilities(self, task: str, shares: np.ndarray) -> np.ndarray:
        """Calibrated probabilities ``(..., C)``; those of a task that was not fitted stay as they are."""
        return _tempered(shares, self.temperature.get(task, 1.0))

    def likely(self, task: str, shares: np.ndarray, given: int) -> list[int]:
        """Grades of the set, from calibrated probabilities ``(C,)`` and the class that is given; all of them
        for a task that was never fitted."""
        kept = shares >= self.threshold.get(task, 0.0)
        kept[given] = True
        return [grade for grade, is_kept in zip(TASKS[task], kept, strict=True) if is_kept]

    def write(self, path: str | Path, figures: Mapping[str, Any]) -> Path:
        """Write JSON, with how well it was found to hold."""
        names = ("level", "temperature", "threshold", "repeatability")
        own = {name: getattr(self, name) for name in names}
        return write_json(path, {"schema": _SCHEMA, **own, "figures": figures})

    @classmethod
    def read(cls, path: str | Path) -> GradeCalibration:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: if the file is something else.
        """
        content = read_json(path) or {}
        if content.get("schema") != _SCHEMA:
            raise ValueError(f"path must hold a calibration of grades, {Path(path).name} does not")
        return cls(
            content["level"],
            content["temperature"],
            content["threshold"],
            content.get("repeatability", {}),
        )


def fit_grade_calibration(
    folds: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], level: float = 0.9
) -> tuple[GradeCalibration, dict[str, Any]]:
    """Fit on held-out discs, and say how well it holds.

    Args:
        folds: task -> for each fold its probabilities ``(N, C)`` and true classes ``(N,)`` from 0.
        level: of the sets.

    Returns:
        The calibration, fitted on all folds, and for each task :func:`calibration_figures` of fits that left
        out the fold they are tried on.

    Raises:
        ValueError: if a task has fewer than two folds.
    """
    temperature, threshold, figures = {}, {}, {}
    for task, parts in folds.items():
        if len(parts) < 2:
            raise ValueError(f"folds must hold at least two of {task}, got {len(parts)}")
        temperature[task], threshold[task] = _fit(parts, level)
        before, after, sets, truth = [], [], [], []
        for left_out, (shares, labels) in enumerate(parts):
            own_t, own_threshold = _fit([p for i, p in enumerate(parts) if i != left_out], level)
            tempered = _tempered(shares, own_t)
            before.append(shares)
            after.append(tempered)
            given = given_classes(task, shares)[:, None] == np.arange(shares.shape[1])
            sets.append((tempered >= own_threshold) | given)
            truth.append(labels)
        figures[task] = calibration_figures(*map(np.concatenate, (before, after, sets, truth)))
    return GradeCalibration(level, temperature, threshold), figures


def repeated_differences(
    calibration: GradeCalibration, task: str, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """How far the expected grades of discs that were graded twice differ, ``(N,)``, 0 or more.

    Args:
        calibration: of the grader.
        task: which grade.
        one: ``(N, C)`` probabilities of the first scan, before the calibration.
        other: of the second scan.
    """
    first, second = (
        calibration.probabilities(task, shares) @ np.array(TASKS[task]) for shares in (one, other)
    )
    return np.abs(second - first)


def calibration_figures(
    before: np.ndarray, after: np.ndarray, sets: np.ndarray, truth: np.ndarray
) -> dict[str, Any]:
    """Calibration error without and with temperature, coverage and size of the sets, and what referral gives.

    Args:
        before: ``(N, C)`` probabilities of the network.
        after: the same, calibrated.
        sets: ``(N, C)`` bool.
        truth: ``(N,)`` classes from 0.

    Returns:
        Beside the figures ``referral``: for each bound on the probability of the grade the share of discs
        that are kept and the share of right grades among them.
    """
    sure, right = after.max(1), after.argmax(1) == truth
    referral = []
    for bound in (0.0, 0.5, 0.6, 0.7, 0.8, 0.9):
        kept = sure >= bound
        accuracy = float(right[kept].mean()) if kept.any() else None
        referral.append({"bound": bound, "kept": float(kept.mean()), "accuracy": accuracy})
    return {
        "discs": len(truth),
        "expected_calibration_error_before": expected_calibration_error(before, truth),
        "expected_calibration_error": expected_calibration_error(after, truth),
        "coverage": float(sets[np.arange(len(truth)), truth].mean()),
        "mean_set_size": float(sets.sum(1).mean()),
        "one_grade_alone": float((sets.sum(1) == 1).mean()),
        "referral": referral,
    }


def reliability(shares: np.ndarray, truth: np.ndarray, bins: int = _BINS) -> np.ndarray:
    """Points of a reliability diagram: a row a bin that holds a disc.

    Args:
        shares: ``(N, C)`` probabilities.
        truth: ``(N,)`` classes from 0.
        bins: between 0 and 1.

    Returns:
        ``(B, 3)``: mean probability of the grade, share of right grades, share of discs.
    """
    sure, right = shares.max(1), shares.argmax(1) == truth
    place = np.minimum((sure * bins).astype(int), bins - 1)
    bins_held = [place == i for i in np.unique(place)]
    return np.array([(sure[own].mean(), right[own].mean(), own.mean()) for own in bins_held])


def expected_calibration_error(shares: np.ndarray, truth: np.ndarray, bins: int = _BINS) -> float:
    """See the module; arguments as :func:`reliability`."""
    said, was, weight = reliability(shares, truth, bins).T
    return float((weight * np.abs(said - was)).sum())


def _tempered(shares: np.ndarray, temperature: float) -> np.ndarray:
    logs = np.log(np.maximum(shares, _LEAST)) / temperature
    powers = np.exp(logs - logs.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _fit(parts: Sequence[tuple[np.ndarray, np.ndarray]], level: float) -> tuple[float, float]:
    """Temperature of the largest likelihood, and the threshold of the sets after it."""
    from scipy.optimize import minimize_scalar  # grading a scan fits nothing

    shares, labels = (np.concatenate(values) for values in zip(*parts, strict=True))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        tempered = _tempered(shares, float(np.exp(log_temperature)))
        return -float(np.log(np.maximum(tempered[rows, labels], _LEAST)).mean())

    temperature = float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
    true = np.sort(_tempered(shares, temperature)[rows, labels])
    # The split conformal rank: at most this many true grades may lie below the threshold.
    rank = int(np.floor((len(true) + 1) * (1 - level)))
    return temperature, float(true[rank - 1]) if rank > 0 else 0.0

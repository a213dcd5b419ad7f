"""From the distance of two embeddings to the probability that they are one person's.

Logistic regression on the distance (Platt's method [platt1999]), positive and negative comparisons weighing
the same: the probability holds where both answers were as likely beforehand. Columns are compared by the mean
distance over the levels that both show, and have a fit of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from siamed.pipeline.experiments.files import read_json, write_json

if TYPE_CHECKING:
    from .metrics import Compared

__all__ = ["Calibration", "calibration_figures", "fit_calibration"]

_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Probability = 1 / (1 + exp(-(intercept + slope * distance))), for a level and for a column.

    Args:
        level: (intercept, slope).
        column: (intercept, slope), for the mean distance.
        sequences: of the two scans of the pairs it was fitted on.
    """

    level: tuple[float, float]
    column: tuple[float, float]
    sequences: tuple[str, str]

    def of_level(self, distance: float) -> float:
        """Probability that two bodies at this distance are one person's."""
        return float(expit(self.level[0] + self.level[1] * distance))

    def of_column(self, distance: float) -> float:
        """The same for two columns at this mean distance."""
        return float(expit(self.column[0] + self.column[1] * distance))

    def write(self, path: str | Path, figures: dict[str, Any]) -> Path:
        """Write JSON, with how well it was found to hold."""
        return write_json(path, {"schema": "siamed/calibration/1", **asdict(self), "figures": figures})

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: if the file is something else.
        """
        content = read_json(path) or {}
        if content.get("schema") != "siamed/calibration/1":
            raise ValueError(f"path must hold a calibration, {Path(path).name} does not")
        return cls(*(tuple(content[name]) for name in ("level", "column", "sequences")))


def fit_calibration(
    levels: Sequence[Compared], columns: Sequence[Compared], sequences: tuple[str, str]
) -> tuple[Calibration, dict[str, Any]]:
    """Fit on comparisons of persons whom no network has seen, and say how well it holds.

    Args:
        levels: comparisons of bodies, a fold each.
        columns: comparisons of columns, a fold each.
        sequences: of the two scans.

    Returns:
        The calibration, fitted on all folds, and :func:`calibration_figures` of fits that left out the fold
        they are tried on.
    """
    fits, figures = [], {}
    for name, folds in (("level", levels), ("column", columns)):
        fits.append(_fit(folds))
        tried = [
            expit(fit[0] + fit[1] * fold.distance)
            for fit, fold in ((_fit([f for f in folds if f is not fold]), fold) for fold in folds)
        ]
        figures[name] = calibration_figures(
            np.concatenate(tried), np.concatenate([fold.same for fold in folds])
        )
    return Calibration(fits[0], fits[1], sequences), figures


def _fit(folds: Sequence[Compared]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression  # comparing two scans fits nothing

    distance, same = (
        np.concatenate([getattr(fold, name) for fold in folds]) for name in ("distance", "same")
    )
    model = LogisticRegression(C=1e6, class_weight="balanced").fit(distance[:, None], same)
    return float(model.intercept_[0]), float(model.coef_[0, 0])


def calibration_figures(probability: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """Brier score and expected calibration error, positives and negatives weighing the same.

    Args:
        probability: ``(M,)``.
        same: ``(M,)`` bool.
    """
    weight = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for i in range(_BINS):
        own = place == i
        if own.any():
            error += abs(float((weight[own] * (probability[own] - same[own])).sum()))
    return {
        "brier": float((weight * (probability - same) ** 2).sum()),
        "expected_calibration_error": error,
        "sensitivity_at_half": float((probability[same] >= 0.5).mean()),
        "specificity_at_half": float((probability[~same] < 0.5).mean()),
    }

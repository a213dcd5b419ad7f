"""Metric of the detector's training: how many corner peaks are right.

Contract: a corner heatmap's local maxima above ``min_score`` are its corners; predicted and target corners
of the same kind are matched one to one, nearest first, within ``radius_px``. The metric is the F1 score
``2 TP / (2 TP + FP + FN)`` pooled over all images, 1 being best.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from siamed.transforms.vertebra_targets import CORNERS

__all__ = ["CornerF1", "CornerF1Metric"]


def _peaks(heat: torch.Tensor, min_score: float, radius: int) -> list[np.ndarray]:
    pooled = functional.max_pool2d(heat[None], 2 * radius + 1, 1, radius)[0]
    kept = (heat == pooled) & (heat >= min_score)
    return [torch.nonzero(k).numpy().astype(float) for k in kept]


class CornerF1(CumulativeIterationMetric):
    """F1 score of corners.

    Args:
        radius_px: largest distance of a match, in view pixels.
        min_score: lowest heatmap value of a corner.
        nms_px: peaks closer than this count once.

    Shape:
        - y_pred: ``(B, 19, H, W)`` raw network output;
        - y: ``(B, 25, H, W)`` packed targets of ``VertebraTargetsd``.
    """

    def __init__(self, radius_px: float, min_score: float = 0.3, nms_px: int = 4) -> None:
        super().__init__()
        self.radius_px, self.min_score, self.nms_px = radius_px, min_score, nms_px

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        counts = []
        for predicted, target in zip(y_pred.detach().float().cpu(), y.detach().float().cpu(), strict=True):
            found = _peaks(predicted[CORNERS].sigmoid(), self.min_score, self.nms_px)
            wanted = _peaks(target[CORNERS], 0.6, self.nms_px)
            hits = sum(self._matches(f, w) for f, w in zip(found, wanted, strict=True))
            counts.append([hits, sum(map(len, found)) - hits, sum(map(len, wanted)) - hits])
        return torch.tensor(counts, dtype=torch.float32)

    def _matches(self, found: np.ndarray, wanted: np.ndarray) -> int:
        if not len(found) or not len(wanted):
            return 0
        distance = np.linalg.norm(found[:, None] - wanted[None], axis=-1)
        rows, columns = linear_sum_assignment(np.minimum(distance, 10 * self.radius_px))
        return int((distance[rows, columns] <= self.radius_px).sum())

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """F1 over everything seen since the last reset; nan before any corner was seen."""
        counts = self.get_buffer()
        if counts is None:
            return torch.tensor(float("nan"))
        hits, extra, missed = counts.sum(0)
        return 2 * hits / (2 * hits + extra + missed)


class CornerF1Metric(IgniteMetricHandler):
    """:class:`CornerF1` for the metrics of a MONAI evaluator.

    Args:
        radius_px: largest distance of a match, in view pixels.
    """

    def __init__(self, radius_px: float) -> None:
        super().__init__(
            metric_fn=CornerF1(radius_px), output_transform=from_engine(["pred", "label"]), save_details=False
        )

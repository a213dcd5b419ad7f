"""Does the embedding know the person, and the level, and has it collapsed?

Contract. Embeddings ``(N, 2, E)`` of N positive pairs: two acquisitions of one person at one level. Every
first acquisition is compared with every second one of the same level; a pair of one person is a positive.

same-person AUC
    area under the ROC of "same person" scored by the negative distance, all levels together: the paper's
    figure [jamaludin2017ssl, Sec. 4.1].
column AUC
    the same for two columns of vertebrae: persons compared by the mean distance over the levels that both
    show, ``MIN_COLUMN`` of them at least.
level accuracy
    share of volumes whose level has the highest score.
embedding spread, effective rank
    of all embeddings, as :mod:`siamed.pipeline.experiments.embedding_statistics` defines them.

Of pairs that are given, positive and negative ones, whatever is asked of them:

pair AUC
    area under the ROC of a positive pair, scored by the negative distance.
pair accuracy
    share of pairs told rightly where a distance below a threshold counts as a positive pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from sklearn.metrics import roc_auc_score

from siamed.pipeline.experiments.embedding_statistics import effective_rank, embedding_spread

from .volumes import MIN_COLUMN

__all__ = [
    "METRICS",
    "PAIR_METRICS",
    "Compared",
    "GivenPairMetric",
    "SamePersonMetric",
    "compare_columns",
    "compare_volumes",
    "distance_matrix",
    "given_pair_metrics",
    "pair_metrics",
    "pooled_auc",
]

METRICS = ("same_person_auc", "column_auc", "level_accuracy", "embedding_spread", "effective_rank")
PAIR_METRICS = ("pair_auc", "pair_accuracy", "embedding_spread", "effective_rank")


@dataclass(frozen=True)
class Compared:
    """Comparisons of two scans each; every array is ``(M,)``.

    Args:
        distance: between the two.
        same: whether both are of one person.
        first: person of the first acquisition.
        second: person of the second one.
    """

    distance: np.ndarray
    same: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the ROC; nan where one kind of comparison is missing."""
        if not self.same.any() or self.same.all():
            return float("nan")
        return float(roc_auc_score(self.same, -self.distance))


def distance_matrix(embeddings: np.ndarray) -> np.ndarray:
    """Distances ``(N, N)`` of every first from every second acquisition of embeddings ``(N, 2, E)``."""
    both = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    return torch.cdist(both[:, 0], both[:, 1], compute_mode="donot_use_mm_for_euclid_dist").numpy()


def compare_volumes(distances: np.ndarray, levels: np.ndarray, persons: np.ndarray) -> Compared:
    """Every first acquisition with every second one of its level.

    Args:
        distances: ``(N, N)``.
        levels: ``(N,)``.
        persons: ``(N,)``.
    """
    one, other = np.nonzero(levels[:, None] == levels[None])
    first, second = persons[one], persons[other]
    return Compared(distances[one, other], first == second, first, second)


def compare_columns(
    distances: np.ndarray, levels: np.ndarray, persons: np.ndarray, least: int = MIN_COLUMN
) -> Compared:
    """Every two persons' columns: mean distance over the levels that both show, where these are enough.

    Args:
        distances: ``(N, N)``.
        levels: ``(N,)``; a person has a level once.
        persons: ``(N,)``.
        least: levels that two columns must share.
    """
    names, place = np.unique(persons, return_inverse=True)
    total, shared = np.zeros((2, len(names), len(names)))
    one, other = np.nonzero(levels[:, None] == levels[None])
    np.add.at(total, (place[one], place[other]), distances[one, other])
    np.add.at(shared, (place[one], place[other]), 1)
    a, b = np.nonzero(shared >= least)
    return Compared(total[a, b] / shared[a, b], a == b, names[a], names[b])


def pooled_auc(parts: Sequence[Compared], draws: int) -> dict[str, Any]:
    """AUC pooled over folds, each fold's own, and an interval over patients, who are drawn whole.

    Args:
        parts: comparisons of each fold, ``first`` and ``second`` naming patients.
        draws: bootstrap samples of the interval.
    """
    names = ("distance", "same", "first", "second")
    pooled = Compared(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    people, places = np.unique(np.concatenate([pooled.first, pooled.second]), return_inverse=True)
    one, other = np.split(places, 2)
    rng, samples = np.random.default_rng(0), []
    for _ in range(draws):
        weight = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
        # A comparison within a patient is there as often as the patient is, one of two as both are together.
        times = np.where(one == other, weight[one], weight[one] * weight[other])
        if times[pooled.same].any() and times[~pooled.same].any():
            samples.append(roc_auc_score(pooled.same, -pooled.distance, sample_weight=times))
    return {
        "auc": pooled.auc,
        "interval_95_over_patients": [float(v) for v in np.percentile(samples, [2.5, 97.5])],
        "folds": [part.auc for part in parts],
        "same": int(pooled.same.sum()),
        "different": int((~pooled.same).sum()),
    }


def pair_metrics(
    embeddings: np.ndarray, scores: np.ndarray, levels: np.ndarray, persons: np.ndarray
) -> dict[str, float]:
    """All metrics of the module's contract; nan where positives or negatives are missing.

    Args:
        embeddings: ``(N, 2, E)``.
        scores: ``(N, 2, K)`` of the levels.
        levels: ``(N,)`` from 0.
        persons: ``(N,)``.
    """
    flat, distances = embeddings.reshape(-1, embeddings.shape[-1]), distance_matrix(embeddings)
    return {
        "same_person_auc": compare_volumes(distances, levels, persons).auc,
        "column_auc": compare_columns(distances, levels, persons).auc,
        "level_accuracy": float((scores.argmax(-1) == levels[:, None]).mean()),
        "embedding_spread": embedding_spread(flat),
        "effective_rank": effective_rank(flat),
    }


class _SamePerson(CumulativeIterationMetric):
    """One metric of the contract; y_pred ``(B, 2, E + K)``, y ``(B, 4)`` as the Siamese loss takes them."""

    def __init__(self, embedding: int, metric: str) -> None:
        super().__init__()
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {METRICS}, got {metric!r}")
        self.embedding, self.metric = int(embedding), metric

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.cat([y_pred.flatten(1).float(), y.to(y_pred.device).float()], dim=1)

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """The metric over all pairs seen; nan where there is none."""
        buffer = self.get_buffer()
        if buffer is None:
            return torch.tensor(float("nan"))
        rows = buffer.cpu().numpy()
        output = rows[:, :-4].reshape(len(rows), 2, -1)
        embeddings, scores = np.split(output, [self.embedding], axis=2)
        levels, persons = rows[:, -3].astype(int), rows[:, -2].astype(int)
        return torch.tensor(pair_metrics(embeddings, scores, levels, persons)[self.metric])


class SamePersonMetric(IgniteMetricHandler):
    """One metric of the contract for a MONAI evaluator that goes over positive pairs.

    Args:
        embedding: entries of an embedding; the level scores follow it in the network's output.
        metric: a key of :func:`pair_metrics`.
    """

    def __init__(self, embedding: int, metric: str) -> None:
        super().__init__(
            metric_fn=_SamePerson(embedding, metric),
            output_transform=from_engine(["pred", "label"]),
            save_details=False,
        )


class _GivenPairs(CumulativeIterationMetric):
    """One metric of given pairs; y_pred ``(B, 2, E)``, y ``(B, 4)`` as the Siamese loss takes them."""

    def __init__(self, metric: str, threshold: float) -> None:
        super().__init__()
        if metric not in PAIR_METRICS:
            raise ValueError(f"metric must be one of {PAIR_METRICS}, got {metric!r}")
        self.metric, self.threshold = metric, float(threshold)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.cat([y_pred.flatten(1).float(), y[:, :1].to(y_pred.device).float()], dim=1)

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """The metric over all pairs seen; nan where there is none."""
        buffer = self.get_buffer()
        if buffer is None:
            return torch.tensor(float("nan"))
        rows = buffer.cpu().numpy()
        embeddings, same = rows[:, :-1].reshape(len(rows), 2, -1), rows[:, -1] > 0
        return torch.tensor(given_pair_metrics(embeddings, same, self.threshold)[self.metric])


def given_pair_metrics(embeddings: np.ndarray, same: np.ndarray, threshold: float) -> dict[str, float]:
    """Metrics of given pairs.

    Args:
        embeddings: ``(N, 2, E)``.
        same: ``(N,)`` bool, which pairs are positive.
        threshold: distance below which a pair is taken for a positive one.
    """
    distance = np.linalg.norm(embeddings[:, 0] - embeddings[:, 1], axis=1)
    flat, nobody = embeddings.reshape(-1, embeddings.shape[-1]), np.zeros(len(same))
    return {
        "pair_auc": Compared(distance, same, nobody, nobody).auc,
        "pair_accuracy": float(((distance < threshold) == same).mean()),
        "embedding_spread": embedding_spread(flat),
        "effective_rank": effective_rank(flat),
    }


class GivenPairMetric(IgniteMetricHandler):
    """One metric of given pairs for a MONAI evaluator.

    Args:
        metric: one of :data:`PAIR_METRICS`.
        threshold: see :func:`given_pair_metrics`.
    """

    def __init__(self, metric: str, threshold: float) -> None:
        super().__init__(
            metric_fn=_GivenPairs(metric, threshold),
            output_transform=from_engine(["pred", "label"]),
            save_details=False,
        )

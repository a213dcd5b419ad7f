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
embedding spread
    standard deviation of an entry of the embedding over the volumes, mean over the entries; near 0 the
    embedding has collapsed to a point.
effective rank
    exponential of the entropy of the normalized singular values of the centered embeddings [roy2007rank]: how
    many directions it uses.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from sklearn.metrics import roc_auc_score

__all__ = [
    "METRICS",
    "MIN_COLUMN",
    "SamePersonMetric",
    "column_distances",
    "effective_rank",
    "pair_distances",
    "pair_metrics",
]

METRICS = ("same_person_auc", "column_auc", "level_accuracy", "embedding_spread", "effective_rank")
MIN_COLUMN = 4


def pair_distances(
    embeddings: np.ndarray, levels: np.ndarray, persons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every first from every second acquisition of the same level.

    Args:
        embeddings: ``(N, 2, E)``.
        levels: ``(N,)``.
        persons: ``(N,)``.

    Returns:
        ``(M,)`` distances and whether each is of one person.
    """
    distances = _distances(embeddings)
    compared = levels[:, None] == levels[None]
    return distances[compared], (persons[:, None] == persons[None])[compared]


def column_distances(
    embeddings: np.ndarray, levels: np.ndarray, persons: np.ndarray, least: int = MIN_COLUMN
) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance over the levels that two persons' columns share, for every two that share enough.

    Args:
        embeddings: ``(N, 2, E)``; a person has a level once.
        levels: ``(N,)``.
        persons: ``(N,)``.
        least: levels that two columns must share.

    Returns:
        ``(M,)`` distances and whether each is of one person.
    """
    names, place = np.unique(persons, return_inverse=True)
    total, shared = np.zeros((2, len(names), len(names)))
    distances = _distances(embeddings)
    for level in np.unique(levels):
        of_level = np.flatnonzero(levels == level)
        grid = np.ix_(place[of_level], place[of_level])
        total[grid] += distances[np.ix_(of_level, of_level)]
        shared[grid] += 1
    enough = shared >= least
    return (total / np.maximum(shared, 1))[enough], np.eye(len(names), dtype=bool)[enough]


def effective_rank(embeddings: np.ndarray) -> float:
    """Directions that embeddings ``(N, E)`` use; 1 where all are equal or lie on a line."""
    values = np.linalg.svd(embeddings - embeddings.mean(0), compute_uv=False)
    if values.sum() <= 1e-12:
        return 1.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


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
    flat = embeddings.reshape(-1, embeddings.shape[-1])
    return {
        "same_person_auc": _auc(*pair_distances(embeddings, levels, persons)),
        "column_auc": _auc(*column_distances(embeddings, levels, persons)),
        "level_accuracy": float((scores.argmax(-1) == levels[:, None]).mean()),
        "embedding_spread": float(flat.std(0).mean()),
        "effective_rank": effective_rank(flat),
    }


def _distances(embeddings: np.ndarray) -> np.ndarray:
    both = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    return torch.cdist(both[:, 0], both[:, 1], compute_mode="donot_use_mm_for_euclid_dist").numpy()


def _auc(distances: np.ndarray, same: np.ndarray) -> float:
    if not same.any() or same.all():
        return float("nan")
    return float(roc_auc_score(same, -distances))


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

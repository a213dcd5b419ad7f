"""The Siamese loss, written slowly from its equations with plain loops [jamaludin2017ssl, Sec. 2.2, 2.3]."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["contrastive_loss", "level_loss"]


def contrastive_loss(
    first: np.ndarray, second: np.ndarray, same: list[bool], margin: float
) -> tuple[list[float], float]:
    """Terms ``y d^2 + (1 - y) max(0, m - d)^2`` and their sum."""
    terms = []
    for a, b, y in zip(first, second, same, strict=True):
        d = math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))
        terms.append(d**2 if y else max(0.0, margin - d) ** 2)
    return terms, sum(terms)


def level_loss(scores: np.ndarray, levels: list[int], weights: list[float]) -> float:
    """Mean of ``- alpha_c (y_c - log sum_j exp y_j)`` over volumes ``(N, K)``."""
    total = 0.0
    for row, level in zip(scores, levels, strict=True):
        total -= weights[level] * (float(row[level]) - math.log(sum(math.exp(float(s)) for s in row)))
    return total / len(levels)

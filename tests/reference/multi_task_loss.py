"""The class-balanced loss of several gradings, written slowly from its equation with plain loops.

``L = sum_t w_t / |known_t| * sum_n alpha_{t,c_n} * - sum_g q_t(g | c_n) log p_t(g | x_n)`` with
``alpha_c = freq(c)^-k`` scaled to a mean of 1 over the labels [jamaludin2016spinenet, Sec. 2].
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["class_weights", "multi_task_loss"]


def class_weights(labels: list[int], classes: int, power: float) -> list[float]:
    """alpha of each class; -1 is a missing label, a class that never occurs gets 1."""
    counts = [sum(1 for label in labels if label == c) for c in range(classes)]
    raw = [count ** (-power) if count else 0.0 for count in counts]
    mean = sum(raw[label] for label in labels if label >= 0) / sum(counts)
    return [r / mean if count else 1.0 for r, count in zip(raw, counts, strict=True)]


def multi_task_loss(
    scores: np.ndarray,
    labels: np.ndarray,
    classes: list[int],
    weights: list[list[float]],
    task_weights: list[float],
    softness: list[float],
) -> float:
    """Loss of scores ``(B, sum(classes))`` against class indices ``(B, T)``, -1 where missing."""
    total, start = 0.0, 0
    for t, count in enumerate(classes):
        losses = []
        for n in range(len(scores)):
            label = int(labels[n, t])
            if label < 0:
                continue
            row = [float(s) for s in scores[n, start : start + count]]
            log_sum = math.log(sum(math.exp(s) for s in row))
            if softness[t] > 0:
                near = [math.exp(-((g - label) ** 2) / (2 * softness[t] ** 2)) for g in range(count)]
                wanted = [v / sum(near) for v in near]
            else:
                wanted = [float(g == label) for g in range(count)]
            entropy = -sum(q * (s - log_sum) for q, s in zip(wanted, row, strict=True))
            losses.append(weights[t][label] * entropy)
        if losses:
            total += task_weights[t] * sum(losses) / len(losses)
        start += count
    return total

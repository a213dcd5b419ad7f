"""The segmentation loss, slowly and from its equations [dhere2021, Sec. 2], [milletari2016vnet, Sec. 3]."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["bce", "dice_loss", "reconstruction"]


def dice_loss(logits: np.ndarray, mask: np.ndarray) -> float:
    """``1 - 2 sum p g / (sum p^2 + sum g^2)``."""
    overlap = squares = 0.0
    for logit, g in zip(logits.ravel(), mask.ravel(), strict=True):
        p = 1 / (1 + math.exp(-float(logit)))
        overlap += p * float(g)
        squares += p * p + float(g) * float(g)
    return 1 - 2 * overlap / squares


def bce(logits: np.ndarray, mask: np.ndarray, positive_weight: float) -> float:
    """Mean of ``-(w g log p + (1 - g) log(1 - p))``."""
    total = 0.0
    for logit, g in zip(logits.ravel(), mask.ravel(), strict=True):
        p = 1 / (1 + math.exp(-float(logit)))
        total -= positive_weight * float(g) * math.log(p) + (1 - float(g)) * math.log(1 - p)
    return total / logits.size


def reconstruction(found: np.ndarray, image: np.ndarray) -> float:
    """Mean squared difference."""
    pairs = zip(found.ravel(), image.ravel(), strict=True)
    return sum((float(a) - float(b)) ** 2 for a, b in pairs) / found.size

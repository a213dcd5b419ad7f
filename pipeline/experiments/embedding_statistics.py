"""How embeddings lie: one point, one line or all around, and how near those of a pair are.

Contract. Embeddings ``(N, E)`` of N images, pairs ``(N, 2, E)`` of N positive pairs; arrays of floats,
deterministic.

embedding spread
    standard deviation of an entry over the images, mean over the entries; near 0 the embedding has collapsed
    to a point.
effective rank
    exponential of the entropy of the normalized singular values of the centered embeddings [roy2007rank]: how
    many directions they use.
alignment
    mean squared distance of the two of a pair on the unit sphere: 0 where they are equal, 2 where they are
    perpendicular, 4 at most [wang2020alignment, Sec. 4.1].
uniformity
    ``log mean exp(-2 |u - v|^2)`` over pairs of different images on the unit sphere: 0 where all are one
    point, the lower the more evenly they cover the sphere [wang2020alignment, Sec. 4.1].

On the unit sphere a vector is divided by its length; one of zeros has no direction and stays where it is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["alignment", "effective_rank", "embedding_spread", "uniformity"]

_ROWS = 256  # compared with all others at a time: memory grows with N, not with its square


def embedding_spread(embeddings: np.ndarray) -> float:
    """Mean over the entries of their standard deviation.

    Args:
        embeddings: ``(N, E)``, one at least.

    Raises:
        ValueError: if they have another shape.
    """
    return float(_checked(embeddings).std(0).mean())


def effective_rank(embeddings: np.ndarray) -> float:
    """How many directions embeddings use: 1 where they lie on a line, nan where one is not finite.

    Args:
        embeddings: ``(N, E)``, one at least.

    Raises:
        ValueError: if they have another shape.
    """
    if not np.isfinite(_checked(embeddings)).all():
        return float("nan")
    values = np.linalg.svd(embeddings - embeddings.mean(0), compute_uv=False)
    if values.sum() <= 1e-12:
        return 1.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(pairs: np.ndarray) -> float:
    """Mean squared distance of positive pairs on the unit sphere.

    Args:
        pairs: ``(N, 2, E)``, one at least.

    Raises:
        ValueError: if they have another shape.
    """
    if pairs.ndim != 3 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"pairs must be (N, 2, E) with N of 1 or more, got {pairs.shape}")
    first, second = np.moveaxis(_on_sphere(pairs), 1, 0)
    return float(((first - second) ** 2).sum(1).mean())


def uniformity(embeddings: np.ndarray) -> float:
    """Logarithm of the mean of ``exp(-2 |u - v|^2)`` over distinct embeddings on the unit sphere.

    Args:
        embeddings: ``(N, E)``; of a single one it is nan.

    Raises:
        ValueError: if they have another shape.
    """
    unit = _on_sphere(_checked(embeddings))
    count = len(unit)
    if count < 2:
        return float("nan")
    squares, total = (unit**2).sum(1), 0.0
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        distances = squares[rows, None] + squares - 2 * unit[rows] @ unit.T
        nearness = np.exp(-2 * distances)
        own = np.arange(len(nearness))
        nearness[own, start + own] = 0  # nobody is compared with itself
        total += nearness.sum()
    return float(np.log(total / (count * (count - 1))))


def _checked(embeddings: np.ndarray) -> np.ndarray:
    if embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(f"embeddings must be (N, E) with N of 1 or more, got {embeddings.shape}")
    return embeddings


def _on_sphere(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)

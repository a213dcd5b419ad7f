"""NT-Xent and its local form, written slowly from their equations with plain loops.

[chen2020simclr, Eq. 1], several partners as in [khosla2020supcon, Eq. 2]; parts of the body and regions as in
[chaitanya2020contrastive, Sec. 3.1 and Eq. 3].
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["global_contrastive", "local_contrastive", "nt_xent"]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(p) ** 2 for p in a)) / math.sqrt(sum(float(q) ** 2 for q in b))


def nt_xent(embeddings: np.ndarray, person: list[int], group: list[int], temperature: float) -> float:
    """Mean over anchors with a partner, mean over the partners of each."""
    terms = []
    for i in range(len(embeddings)):
        others = [j for j in range(len(embeddings)) if j != i and group[j] == group[i]]
        partners = [j for j in others if person[j] == person[i]]
        if not partners:
            continue
        total = sum(math.exp(_cosine(embeddings[i], embeddings[j]) / temperature) for j in others)
        logs = [_cosine(embeddings[i], embeddings[p]) / temperature - math.log(total) for p in partners]
        terms.append(-sum(logs) / len(logs))
    return sum(terms) / len(terms)


def global_contrastive(embeddings: np.ndarray, like: list[int], temperature: float) -> float:
    """Of views ``(B, V, E)``; images of one number are each other's partners, -1 stands for nobody's."""
    images, views = embeddings.shape[:2]
    places = [(image, view) for image in range(images) for view in range(views)]
    terms = []
    for i, v in places:
        others = [(j, w) for j, w in places if (j, w) != (i, v)]
        partners = [(j, w) for j, w in others if j == i or (like[j] == like[i] and like[i] != -1)]
        total = sum(math.exp(_cosine(embeddings[i, v], embeddings[j, w]) / temperature) for j, w in others)
        logs = [
            _cosine(embeddings[i, v], embeddings[j, w]) / temperature - math.log(total) for j, w in partners
        ]
        terms.append(-sum(logs) / len(logs))
    return sum(terms) / len(terms)


def local_contrastive(features: np.ndarray, rows: int, columns: int, temperature: float) -> float:
    """Of feature maps ``(B, 2, E, H, W)`` whose sides are multiples of the grid's."""
    images, _, channels, height, width = features.shape
    tall, wide = height // rows, width // columns
    terms = []
    for image in range(images):
        regions: list[list[np.ndarray]] = [[], []]
        for view in range(2):
            for r in range(rows):
                for c in range(columns):
                    part = features[image, view, :, r * tall : (r + 1) * tall, c * wide : (c + 1) * wide]
                    regions[view].append(np.array([part[e].mean() for e in range(channels)]))
        for view in range(2):
            for r in range(rows * columns):
                anchor, partner = regions[view][r], regions[1 - view][r]
                others = [
                    regions[v][k] for v in range(2) for k in range(rows * columns) if (v, k) != (view, r)
                ]
                total = sum(math.exp(_cosine(anchor, other) / temperature) for other in others)
                terms.append(math.log(total) - _cosine(anchor, partner) / temperature)
    return sum(terms) / len(terms)

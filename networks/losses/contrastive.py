"""Contrastive loss of a Siamese network [jamaludin2017ssl, Sec. 2.2], [dhere2021, Sec. 2], [chopra2005].

``L_C = sum_n y_n d_n^2 + (1 - y_n) max(0, m - d_n)^2`` with ``d_n = ||a_n - b_n||_2``, y = 1 for two volumes
of one person (or side) and 0 for two, and margin m. [dhere2021] prints ``d = ||a - b||^2`` and calls it the
L2 distance; taken at its letter, d is the square and L_C its square again [D-0073].
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ContrastiveLoss", "embedding_distance"]

_TINY = 1e-12  # squared distance below which a distance has no direction


def embedding_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of embeddings ``(..., E)``; its gradient is 0, not infinite, where they meet."""
    squared = (first - second).square().sum(-1)
    apart = squared > _TINY
    return torch.where(apart, squared, torch.ones_like(squared)).sqrt() * apart


class ContrastiveLoss(nn.Module):
    """Pull one person's embeddings together, push two persons' beyond the margin.

    Args:
        margin: m, above 0.
        reduction: "sum" over pairs, as the paper writes it; or "mean"; or "balanced": the mean of the
            mean over positive and the mean over negative pairs, for sets in which one kind is rare.
        squared: d is the squared distance, as [dhere2021] prints it.

    Shape:
        - first, second ``(N, E)`` embeddings; same ``(N,)`` bool;
        - output: scalar, 0 (with a gradient of 0) for no pairs.
    """

    def __init__(self, margin: float, reduction: str, squared: bool = False) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"margin must be above 0, got {margin}")
        if reduction not in ("sum", "mean", "balanced"):
            raise ValueError(f"reduction must be 'sum', 'mean' or 'balanced', got {reduction!r}")
        self.margin, self.reduction, self.squared = float(margin), reduction, squared

    def forward(self, first: torch.Tensor, second: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        if first.shape != second.shape or same.shape != first.shape[:-1]:
            raise ValueError(
                "first and second must be (N, E) and same (N,), got "
                f"{tuple(first.shape)}, {tuple(second.shape)} and {tuple(same.shape)}"
            )
        distance, same = embedding_distance(first, second), same.bool()
        distance = distance.square() if self.squared else distance
        terms = torch.where(same, distance.square(), (self.margin - distance).clamp(min=0).square())
        if self.reduction == "sum" or not len(terms):
            return terms.sum() + first.sum() * 0
        if self.reduction == "mean":
            return terms.mean()
        kinds = [terms[kind].mean() for kind in (same, ~same) if kind.any()]
        return torch.stack(kinds).mean()

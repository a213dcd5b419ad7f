"""NT-Xent within groups: each embedding must find its own person among all others of its group.

``L = mean_i mean_{p in P(i)} - log( exp(s_ip / tau) / sum_{j in G(i)} exp(s_ij / tau) )``

over the anchors i that have a partner, with cosine similarity s and temperature tau; P(i) are the other
embeddings of i's person in i's group, G(i) all other embeddings of the group [chen2020simclr, Eq. 1], with
several partners as in [khosla2020supcon, Eq. 2]. A group is a vertebral level, so that telling levels apart
earns nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["NTXentLoss"]


class NTXentLoss(nn.Module):
    """NT-Xent over the embeddings of a batch, within groups.

    Args:
        temperature: tau, above 0.

    Shape:
        - embeddings ``(N, E)``; person, group ``(N,)`` int;
        - output: scalar, 0 (with a gradient of 0) where nobody has a partner.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = float(temperature)

    def forward(self, embeddings: torch.Tensor, person: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        if embeddings.ndim != 2 or not person.shape == group.shape == embeddings.shape[:1]:
            raise ValueError(
                "embeddings must be (N, E), person and group (N,), got "
                f"{tuple(embeddings.shape)}, {tuple(person.shape)} and {tuple(group.shape)}"
            )
        unit = functional.normalize(embeddings.float(), dim=1)
        similarity = unit @ unit.T / self.temperature
        others = (group[:, None] == group[None]) & ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        partners = others & (person[:, None] == person[None])
        # Not minus infinity: the gradient of somebody alone in a group would not be a number.
        lowest = torch.finfo(similarity.dtype).min
        log_p = similarity - similarity.masked_fill(~others, lowest).logsumexp(1, keepdim=True)
        count = partners.sum(1)
        found = count > 0
        if not found.any():
            return embeddings.sum() * 0
        terms = log_p.masked_fill(~partners, 0).sum(1)[found] / count[found]
        return -terms.mean()

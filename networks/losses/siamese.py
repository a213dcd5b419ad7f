"""What the Siamese network is trained on: same person or not, and the level [jamaludin2017ssl, Sec. 2.3].

``L = L_same + w * L_level``: a loss of the embeddings, and the softmax loss of the vertebral level, balanced
by class, over both volumes of every pair. The paper's L_same is the contrastive loss of the pairs that are
given; the other choices look at all pairs of a batch, of one level each [D-0062].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .contrastive import ContrastiveLoss
from .nt_xent import NTXentLoss

__all__ = ["SiameseLoss"]


class SiameseLoss(nn.Module):
    """Loss of the embeddings and class-balanced softmax loss of the levels.

    Args:
        same_person: :class:`ContrastiveLoss` or :class:`NTXentLoss`.
        level_weights: alpha of each level; none where the network tells none, and L_level is left out.
        level_weight: w, of the level loss.
        embedding: E, entries of an embedding.
        all_pairs: compare every two volumes of one level in the batch, not the given pairs alone; who is who
            is then read from the persons in the target. NT-Xent always does.

    Shape:
        - input ``(B, 2, E + K)``: embeddings and level scores of both volumes of each pair;
        - target ``(B, 4)`` int: same person (1 or 0), level from 0, person of the first and of the second
          volume;
        - output: scalar.
    """

    weights: torch.Tensor

    def __init__(
        self,
        same_person: ContrastiveLoss | NTXentLoss,
        level_weights: Sequence[float],
        level_weight: float,
        embedding: int,
        all_pairs: bool,
    ) -> None:
        super().__init__()
        if isinstance(same_person, NTXentLoss) and not all_pairs:
            raise ValueError("all_pairs must be true with NT-Xent, which knows no single pairs, got false")
        self.same_person, self.embedding, self.all_pairs = same_person, int(embedding), bool(all_pairs)
        self.level_weight = float(level_weight)
        self.register_buffer("weights", torch.tensor(list(level_weights)).float(), persistent=False)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if input.ndim != 3 or input.shape[1] != 2 or tuple(target.shape) != (len(input), 4):
            raise ValueError(
                f"input must be (B, 2, E + K) and target (B, 4), got {tuple(input.shape)} and "
                f"{tuple(target.shape)}"
            )
        embeddings, scores = input.float().split([self.embedding, len(self.weights)], dim=2)
        if not len(self.weights):
            return self._same_person(embeddings, target)
        level = target[:, 1, None].expand(-1, 2)
        log_p = functional.log_softmax(scores, dim=2).gather(2, level[..., None].long())[..., 0]
        level_loss = -(self.weights[level] * log_p).mean()
        return self._same_person(embeddings, target) + self.level_weight * level_loss

    def _same_person(self, embeddings: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not self.all_pairs:
            return self.same_person(embeddings[:, 0], embeddings[:, 1], target[:, 0])
        flat, person = embeddings.flatten(0, 1), target[:, 2:].flatten()
        level = target[:, 1].repeat_interleave(2)
        if isinstance(self.same_person, NTXentLoss):
            return self.same_person(flat, person, level)
        one, other = torch.triu_indices(len(flat), len(flat), 1, device=flat.device)
        alike = level[one] == level[other]
        one, other = one[alike], other[alike]
        return self.same_person(flat[one], flat[other], person[one] == person[other])

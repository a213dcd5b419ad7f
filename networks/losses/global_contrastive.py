"""The global contrastive loss: an image must find its other view, or its like, in the batch.

NT-Xent [chen2020simclr, Eq. 1] over the views of all images of a batch. Images of one class, such as slices
of one part of the body, may be positives of each other: the loss G_D of [chaitanya2020contrastive, Sec. 3.1].
"""

from __future__ import annotations

import torch
from torch import nn

from .nt_xent import NTXentLoss

__all__ = ["ALONE", "GlobalContrastiveLoss"]

ALONE = -1
"""Label of an image that nothing but its own views is like."""


class GlobalContrastiveLoss(nn.Module):
    """NT-Xent over the views of a batch.

    Args:
        temperature: tau, above 0.

    Shape:
        - embeddings ``(B, V, E)``, V views of each image;
        - like ``(B,)`` int: images of one number are positives of each other, :data:`ALONE` of none;
        - output: scalar.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.loss = NTXentLoss(temperature)

    def forward(self, embeddings: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        if embeddings.ndim != 3 or like.shape != embeddings.shape[:1]:
            raise ValueError(
                f"embeddings must be (B, V, E) and like (B,), got {tuple(embeddings.shape)} and "
                f"{tuple(like.shape)}"
            )
        images, views, _ = embeddings.shape
        own = like.max().clamp(min=ALONE) + 1 + torch.arange(images, device=like.device)
        person = torch.where(like == ALONE, own, like).repeat_interleave(views)
        return self.loss(embeddings.flatten(0, 1), person, torch.zeros_like(person))

"""The Siamese network of the side proxy: two kidneys, one densely connected encoder [dhere2021, Sec. 2].

Both volumes of a pair go through the encoder in one batch. Its bottom, averaged over space, gives the
embedding by one linear layer [D-0073].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .dense_encoder import DenseEncoder, in_half_precision

__all__ = ["SiameseDense"]


class SiameseDense(nn.Module):
    """Embeddings of pairs of volumes.

    Args:
        width: see :class:`~siamed.networks.dense_encoder.DenseEncoder`.
        growth: see there.
        layers: see there.
        group_size: see there.
        embedding: entries of an embedding.
        normalize: scale embeddings to length 1, so that distances lie in [0, 2].
        bfloat16: train in bfloat16, where gradients are right (see
            :func:`~siamed.networks.dense_encoder.in_half_precision`).

    Shape:
        - input ``(B, 2, D, H, W)``: the two volumes of each pair; sides multiples of the encoder's stride;
        - output ``(B, 2, embedding)``.
    """

    def __init__(
        self,
        width: int,
        growth: int,
        layers: Sequence[int],
        group_size: int,
        embedding: int,
        normalize: bool,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.in_bfloat16, self.normalize = bfloat16, normalize  # nn.Module has a method bfloat16
        self.trunk = DenseEncoder(width, growth, layers, group_size)
        self.head = nn.Sequential(
            nn.GroupNorm(self.trunk.channels // group_size, self.trunk.channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(self.trunk.channels, embedding),
        )

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        if pair.ndim != 5 or pair.shape[1] != 2:
            raise ValueError(f"pair must be (B, 2, D, H, W), got {list(pair.shape)}")
        volumes = pair.flatten(0, 1).unsqueeze(1)
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with in_half_precision(volumes, len(self.trunk.skips)):
                    return self._embed(volumes).float().unflatten(0, (-1, 2))
        return self._embed(volumes).unflatten(0, (-1, 2))

    def _embed(self, volumes: torch.Tensor) -> torch.Tensor:
        embedding = self.head(self.trunk(volumes)[-1])
        return functional.normalize(embedding.float(), dim=1) if self.normalize else embedding

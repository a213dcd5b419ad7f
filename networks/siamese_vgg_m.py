"""The Siamese VGG-M: two volumes, one encoder, an embedding and the level of each.

The network of [jamaludin2017ssl, Sec. 2.4]: Conv1 to Conv5 of VGG-M with 3-D kernels up to Conv4, FC6, FC7
(the embedding) and FC8 over the levels. Both volumes of a pair go through the encoder in one batch. What the
paper's text leaves open, and what a smaller input changes, is settled in [D-0061].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .mixed_precision import bfloat16_where_native
from .vgg_m import VGGMTrunk, trunk_cells, trunk_features

__all__ = ["SiameseVGGM"]


class SiameseVGGM(nn.Module):
    """Embeddings and level scores of pairs of volumes.

    Args:
        levels: number of levels, FC8's outputs.
        slices: sagittal slices of a volume.
        spatial_size: (H, W) of a volume.
        width: factor on the trunk's widths.
        hidden: width of FC6.
        embedding: width of FC7 (1024 in the paper).
        dropout: before FC6 and FC7.
        batch_norm: see :class:`~siamed.networks.vgg_m.VGGMTrunk`.
        conv2_stride: see :class:`~siamed.networks.vgg_m.VGGMTrunk`.
        pool5: 2 x 2 pooling after Conv5.
        volumetric: 3-D kernels from Conv1 to Conv4, as in the paper.
        normalize: scale embeddings to length 1, so that distances lie in [0, 2].
        bfloat16: train in bfloat16 where the machine has it.

    Shape:
        - input ``(B, 2, D, H, W)``: the two volumes of each pair, intensities in [0, 1];
        - output ``(B, 2, embedding + levels)``; :meth:`split` parts the two.
    """

    def __init__(
        self,
        levels: int,
        slices: int,
        spatial_size: Sequence[int],
        width: float,
        hidden: int,
        embedding: int,
        dropout: float,
        batch_norm: bool,
        conv2_stride: int,
        pool5: bool,
        volumetric: bool,
        normalize: bool,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.in_bfloat16, self.normalize = bfloat16, normalize  # nn.Module has a method bfloat16
        self.embedding, self.levels = int(embedding), int(levels)
        self.trunk = VGGMTrunk(slices, width, batch_norm, conv2_stride, volumetric)
        self.pool5 = nn.MaxPool2d(2) if pool5 else nn.Identity()
        features = trunk_features(self.trunk, self.pool5, trunk_cells(self.trunk, spatial_size))
        self.fc7 = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(features, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, embedding),
        )
        self.fc8 = nn.Sequential(nn.ReLU(), nn.Linear(embedding, levels))

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        if pair.ndim != 5 or pair.shape[1] != 2:
            raise ValueError(f"pair must be (B, 2, D, H, W), got {list(pair.shape)}")
        volumes = pair.flatten(0, 1).unsqueeze(1)
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with bfloat16_where_native(pair.device):
                    return self._describe(volumes).float().unflatten(0, (-1, 2))
        return self._describe(volumes).unflatten(0, (-1, 2))

    def _describe(self, volumes: torch.Tensor) -> torch.Tensor:
        fc7 = self.fc7(self.pool5(self.trunk(volumes)))
        embedding = functional.normalize(fc7.float(), dim=1) if self.normalize else fc7
        return torch.cat([embedding, self.fc8(fc7)], dim=1)

    def split(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings ``(..., E)`` and level scores ``(..., K)`` of the output."""
        return output[..., : self.embedding], output[..., self.embedding :]

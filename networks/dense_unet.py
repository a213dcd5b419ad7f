"""Segmentation with the densely connected encoder [dhere2021, Sec. 3.1].

The decoder is smaller: blocks of two 3 x 3 x 3 convolutions, a transposed convolution after each, and
U-Net skips. A second decoder without skips gives the image back; it regularizes the encoder while training
and is not run otherwise. What the paper's text leaves open is settled in [D-0073].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .dense_encoder import DenseEncoder, in_half_precision, normalized_convolution

__all__ = ["DenseUNet"]


class _Decoder(nn.Module):
    """From the bottom to one value a voxel; ``skips`` are channels that join after each upsampling, deepest
    first, 0 where none does."""

    def __init__(self, channels: int, skips: Sequence[int], width: int, group_size: int) -> None:
        super().__init__()
        self.blocks, self.ups = nn.ModuleList(), nn.ModuleList()
        for depth in reversed(range(len(skips))):
            inner, above = width * 2**depth, width * 2 ** max(depth - 1, 0)
            self.blocks.append(
                nn.Sequential(
                    normalized_convolution(channels, inner, 3, group_size),
                    normalized_convolution(inner, inner, 3, group_size),
                )
            )
            self.ups.append(
                nn.Sequential(
                    nn.GroupNorm(inner // group_size, inner),
                    nn.ReLU(),
                    nn.ConvTranspose3d(inner, above, 2, 2),
                )
            )
            channels = above + skips[len(skips) - 1 - depth]
        self.last = normalized_convolution(channels, 1, 1, group_size)

    def forward(self, bottom: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        x, place = bottom, len(skips)
        for block, up in zip(self.blocks, self.ups, strict=True):
            x = up(block(x))
            if place:
                place -= 1
                x = torch.cat([x, skips[place]], dim=1)
        return self.last(x)


class DenseUNet(nn.Module):
    """Segment one structure; give the image back while training.

    Args:
        width: see :class:`~siamed.networks.dense_encoder.DenseEncoder`.
        growth: see there.
        layers: see there.
        group_size: see there.
        decoder_width: channels of the decoder's last block, doubled with each block before it; a multiple of
            ``group_size``.
        bfloat16: train in bfloat16, where gradients are right (see
            :func:`~siamed.networks.dense_encoder.in_half_precision`).

    Shape:
        - input ``(B, 1, D, H, W)``, sides multiples of the encoder's stride (16 for four blocks);
        - output ``(B, 1, D, H, W)`` logits; in training mode ``(B, 2, D, H, W)``, the second channel the
          reconstructed image.
    """

    def __init__(
        self,
        width: int,
        growth: int,
        layers: Sequence[int],
        group_size: int,
        decoder_width: int,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.in_bfloat16 = bfloat16  # nn.Module has a method bfloat16
        self.trunk = DenseEncoder(width, growth, layers, group_size)
        deepest_first = list(reversed(self.trunk.skips))
        self.decoder = _Decoder(self.trunk.channels, deepest_first, decoder_width, group_size)
        self.reconstruction = _Decoder(
            self.trunk.channels, [0] * len(deepest_first), decoder_width, group_size
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with in_half_precision(image, len(self.trunk.skips)):
                    return self._segment(image).float()
        return self._segment(image)

    def _segment(self, image: torch.Tensor) -> torch.Tensor:
        found = self.trunk(image)
        bottom = found.pop()
        logits = self.decoder(bottom, found)
        if not self.training:
            return logits
        nothing: list[torch.Tensor] = []
        return torch.cat([logits, self.reconstruction(bottom, nothing)], dim=1)

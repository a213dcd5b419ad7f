"""The densely connected encoder that the kidney networks share [dhere2021, Sec. 3.1].

Four blocks of 2, 2, 4 and 8 densely connected 3 x 3 x 3 convolutions [huang2017densenet]; after each block a
convolution of stride 2 and a 1 x 1 x 1 one that reduces the feature maps. A group norm precedes every
convolution but the first, which sees intensities as they are. Growth, widths and groups, which the paper's
text does not give, are settled in [D-0073].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .mixed_precision import bfloat16_where_native

__all__ = ["DenseEncoder", "in_half_precision", "normalized_convolution"]


def in_half_precision(volume: torch.Tensor, levels: int) -> torch.autocast:
    """Run in bfloat16 where the machine has it and gradients are right.

    On CPUs, oneDNN's bfloat16 convolution of a volume two voxels deep reads memory that nobody wrote: its
    gradients are any numbers, or none (seen with torch 2.13). Such inputs are computed in single precision.

    Args:
        volume: ``(B, C, D, H, W)``, the network's input.
        levels: how often it is halved.
    """
    wrong = volume.device.type == "cpu" and 2 in [volume.shape[2] // 2**level for level in range(levels + 1)]
    return bfloat16_where_native(volume.device, enabled=not wrong)


def normalized_convolution(
    inputs: int, outputs: int, kernel: int, group_size: int, stride: int = 1
) -> nn.Sequential:
    """Group norm, ReLU and a padded 3-D convolution.

    Args:
        inputs: channels, a multiple of ``group_size``.
        outputs: channels.
        kernel: edge of the kernel, odd.
        group_size: channels that are normalized together.
        stride: of the convolution.

    Raises:
        ValueError: if the channels do not fall into groups.
    """
    if inputs % group_size:
        raise ValueError(f"channels must be a multiple of group_size {group_size}, got {inputs}")
    return nn.Sequential(
        nn.GroupNorm(inputs // group_size, inputs),
        nn.ReLU(),
        nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2),
    )


class _DenseBlock(nn.Module):
    """Each layer sees the block's input and what all layers before it gave."""

    def __init__(self, channels: int, growth: int, layers: int, group_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            normalized_convolution(channels + i * growth, growth, 3, group_size) for i in range(layers)
        )
        self.channels = channels + layers * growth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DenseEncoder(nn.Module):
    """Encode a volume; a network's ``trunk``, handed from the Siamese network to the segmenting one.

    Args:
        width: channels of the first convolution, a multiple of ``group_size``.
        growth: channels that a dense layer adds, a multiple of ``group_size``.
        layers: dense layers of each block (2, 2, 4, 8 in the paper).
        group_size: channels that are normalized together.

    Shape:
        - input ``(B, 1, D, H, W)``; D, H and W multiples of :attr:`stride`;
        - output of each block before its reduction, at 1/1, 1/2, 1/4, ... of the input (:attr:`skips`
          channels), and last the bottom ``(B, channels, D / stride, H / stride, W / stride)``.

    Raises:
        ValueError: if a width is no multiple of ``group_size``, or the input none of :attr:`stride`.
    """

    def __init__(self, width: int, growth: int, layers: Sequence[int], group_size: int) -> None:
        super().__init__()
        if not layers or min(layers) < 1:
            raise ValueError(f"layers must hold the number of layers of each block, got {list(layers)}")
        self.stride = 2 ** len(layers)
        self.frozen = False
        self.stem = nn.Conv3d(1, width, 3, padding=1)
        self.blocks, self.reductions = nn.ModuleList(), nn.ModuleList()
        skips, channels = [], width
        for count in layers:
            block = _DenseBlock(channels, growth, count, group_size)
            skips.append(block.channels)
            channels = _reduced(block.channels, group_size)
            self.blocks.append(block)
            self.reductions.append(
                nn.Sequential(
                    normalized_convolution(block.channels, block.channels, 3, group_size, stride=2),
                    normalized_convolution(block.channels, channels, 1, group_size),
                )
            )
        self.skips, self.channels = tuple(skips), channels

    def freeze(self) -> None:
        """Keep the weights as they are from now on."""
        self.frozen = True
        self.requires_grad_(False)

    def forward(self, volume: torch.Tensor) -> list[torch.Tensor]:
        if volume.ndim != 5 or volume.shape[1] != 1:
            raise ValueError(f"volume must be (B, 1, D, H, W), got {list(volume.shape)}")
        for size in volume.shape[2:]:
            if size % self.stride:
                raise ValueError(
                    f"volume must have sides that are multiples of {self.stride}, got {list(volume.shape)}"
                )
        found: list[torch.Tensor] = []
        x = self.stem(volume)
        for block, reduction in zip(self.blocks, self.reductions, strict=True):
            x = block(x)
            found.append(x)
            x = reduction(x)
        found.append(x)
        return found


def _reduced(channels: int, group_size: int) -> int:
    """Half the channels, in whole groups."""
    return max(1, round(channels / 2 / group_size)) * group_size

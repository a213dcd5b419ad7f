"""Group norm that onnxruntime computes as exactly as torch does.

ONNX writes a group norm as InstanceNormalization, and onnxruntime (1.31) adds up all values of a group in
single
precision, one after the other: over the millions of a volume that is inexact. Means of means, axis by axis,
are as exact as torch's.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["GroupNormByAxis", "with_exact_norms"]


class GroupNormByAxis(nn.Module):
    """Group norm whose means are taken axis by axis.

    Args:
        norm: whose groups and weights are taken.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        parts = image.unflatten(1, (self.groups, -1))
        centered = parts - _mean_by_axis(parts)
        scale = torch.rsqrt(_mean_by_axis(centered.square()) + self.eps)
        shape = (1, self.groups, -1, *(1 for _ in image.shape[2:]))
        return (centered * (scale * self.weight.view(shape)) + self.bias.view(shape)).flatten(1, 2)


def _mean_by_axis(parts: torch.Tensor) -> torch.Tensor:
    """Mean of each group of ``(B, groups, ...)``, with its axes kept."""
    for axis in range(parts.ndim - 1, 1, -1):
        parts = parts.mean(axis, keepdim=True)
    return parts


def with_exact_norms(network: nn.Module) -> nn.Module:
    """A copy of a network that onnxruntime computes as exactly as torch does the network itself."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm) and child.affine:
                setattr(module, name, GroupNormByAxis(child))
    return network

"""A network for any self-supervised task: an encoder, a decoder where the task needs one, and the task's
head.

What is learned to keep is ``trunk`` (and ``decoder``); the head is thrown away. The members of an item (two
cubes, two patches, two views) come stacked along the channels, go through the trunk as one batch, and meet in
the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .mixed_precision import bfloat16_where_native

__all__ = ["EmbeddingHead", "EmbeddingMapHead", "HeatmapHead", "PixelHead", "PretextNet", "VectorHead"]


class PretextNet(nn.Module):
    """Trunk, decoder and head.

    Args:
        trunk: gives a list of features, the bottom last, such as
            :class:`~siamed.networks.unet.UNetEncoder`.
        head: takes ``(B, members, E, ...)``: features of the decoder, or of the trunk's bottom without one.
        decoder: takes the trunk's list; None where the head looks at the bottom.
        members: images that an item stacks along its channels.
        bfloat16: train in bfloat16 where the machine has it.

    Shape:
        - input ``(B, members * C, ...)``; output: the head's.

    Raises:
        ValueError: if the channels do not fall into the members.
    """

    def __init__(
        self,
        trunk: nn.Module,
        head: nn.Module,
        decoder: nn.Module | None = None,
        members: int = 1,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members must be at least 1, got {members}")
        self.trunk, self.decoder, self.head, self.members = trunk, decoder, head, int(members)
        self.in_bfloat16 = bfloat16  # nn.Module has a method bfloat16

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with bfloat16_where_native(image.device):
                    return self._answer(image).float()
        return self._answer(image)

    def _answer(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[1] % self.members:
            raise ValueError(
                f"image must stack {self.members} members along its channels, got {list(image.shape)}"
            )
        found = self.trunk(image.unflatten(1, (self.members, -1)).flatten(0, 1))
        features = found[-1] if self.decoder is None else self.decoder(found)
        return self.head(features.unflatten(0, (-1, self.members)))  # len(image) would fix an export's batch


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class VectorHead(nn.Module):
    """Numbers for an item: scores of classes, or an offset.

    Args:
        channels: E of the features.
        members: of an item.
        hidden: width of the one hidden layer.
        outputs: how many numbers.

    Shape:
        - input ``(B, members, E, ...)``, averaged over its pixels; output ``(B, outputs)``.
    """

    def __init__(self, channels: int, members: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = _layers(channels * members, hidden, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features.flatten(3).mean(3).flatten(1))


class HeatmapHead(nn.Module):
    """A small picture for an item, such as where one patch lies beside another one.

    Args:
        channels: see :class:`VectorHead`.
        members: see there.
        hidden: see there.
        size: rows and columns.

    Shape:
        - input ``(B, members, E, ...)``; output ``(B, 1, *size)``.
    """

    def __init__(self, channels: int, members: int, hidden: int, size: Sequence[int]) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.vector = VectorHead(channels, members, hidden, self.size[0] * self.size[1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.vector(features).unflatten(1, (1, *self.size))


class PixelHead(nn.Module):
    """Values for each pixel of the one member of an item.

    Args:
        spatial_dims: 2 or 3.
        channels: E of the features.
        outputs: values a pixel.

    Shape:
        - input ``(B, 1, E, ...)``; output ``(B, outputs, ...)``.
    """

    def __init__(self, spatial_dims: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.layer = _pointwise(spatial_dims, channels, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(features.squeeze(1))


class EmbeddingHead(nn.Module):
    """One embedding a member, for a global contrastive loss.

    Args:
        channels: E of the features.
        hidden: width of the one hidden layer.
        size: of an embedding.

    Shape:
        - input ``(B, members, E, ...)``, averaged over its pixels; output ``(B, members, size)``.
    """

    def __init__(self, channels: int, hidden: int, size: int) -> None:
        super().__init__()
        self.layers = _layers(channels, hidden, size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features.flatten(3).mean(3))


class EmbeddingMapHead(nn.Module):
    """An embedding for each pixel of each member, for a local contrastive loss.

    Args:
        spatial_dims: 2 or 3.
        channels: E of the features.
        size: of an embedding.

    Shape:
        - input ``(B, members, E, ...)``; output ``(B, members, size, ...)``.
    """

    def __init__(self, spatial_dims: int, channels: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _pointwise(spatial_dims, channels, channels), nn.ReLU(), _pointwise(spatial_dims, channels, size)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        members = features.shape[1]
        return self.layers(features.flatten(0, 1)).unflatten(0, (-1, members))


def _pointwise(spatial_dims: int, inputs: int, outputs: int) -> nn.Module:
    return (nn.Conv2d if spatial_dims == 2 else nn.Conv3d)(inputs, outputs, 1)

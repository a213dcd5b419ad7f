"""A U-Net in two or three dimensions, its encoder and its decoder apart, so that either can be handed on.

The blocks are those of MONAI's ``BasicUNet``: two convolutions with normalization at each level, max pooling
down, a transposed convolution up [ronneberger2015unet]. Without skips it is an autoencoder: what comes out
has gone through the bottom, where with skips the input could be handed through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import nn

__all__ = ["UNet", "UNetDecoder", "UNetEncoder"]

_ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})


def _norm(group_size: int, channels: int) -> Any:
    return ("group", {"num_groups": max(1, channels // group_size)})


def _check_features(features: Sequence[int], group_size: int) -> None:
    if len(features) < 2 or min(features) < 1:
        raise ValueError(f"features must hold the channels of two levels or more, got {list(features)}")
    if any(channels % group_size for channels in features):
        raise ValueError(f"features must be multiples of group_size {group_size}, got {list(features)}")


class UNetEncoder(nn.Module):
    """From an image to features at each level.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        features: channels of each level, the finest first.
        group_size: channels that are normalized together: no batch statistics, so that a batch of one trains.

    Shape:
        - input ``(B, in_channels, ...)``, sides multiples of :attr:`stride`;
        - output: the features of each level, the finest first; the last is the bottom, at ``1 / stride``.

    Raises:
        ValueError: if features do not fall into groups, or the input's sides are no multiples of the stride.
    """

    def __init__(self, spatial_dims: int, in_channels: int, features: Sequence[int], group_size: int) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        _check_features(features, group_size)
        self.spatial_dims, self.features = spatial_dims, tuple(int(n) for n in features)
        self.stride, self.channels = 2 ** (len(features) - 1), self.features[-1]
        self.frozen = False
        first = self.features[0]
        self.first = TwoConv(spatial_dims, in_channels, first, _ACTIVATION, _norm(group_size, first), True)
        self.downs = nn.ModuleList(
            Down(spatial_dims, above, below, _ACTIVATION, _norm(group_size, below), True)
            for above, below in zip(self.features[:-1], self.features[1:], strict=True)
        )

    def freeze(self) -> None:
        """Keep the weights as they are from now on."""
        self.frozen = True
        self.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        for size in image.shape[2:]:
            if size % self.stride != 0:
                raise ValueError(
                    f"image must have sides that are multiples of {self.stride}, got {list(image.shape)}"
                )
        found = [self.first(image)]
        for down in self.downs:
            found.append(down(found[-1]))
        return found


class UNetDecoder(nn.Module):
    """From the features of each level back to the finest.

    Args:
        spatial_dims: see :class:`UNetEncoder`.
        features: see there.
        group_size: see there.
        skips: join the encoder's features at each level; without them the bottom alone is used.

    Shape:
        - input: a list as :class:`UNetEncoder` gives it;
        - output ``(B, features[0], ...)`` at full resolution.
    """

    def __init__(
        self, spatial_dims: int, features: Sequence[int], group_size: int, skips: bool = True
    ) -> None:
        super().__init__()
        _check_features(features, group_size)
        self.skips, self.channels = skips, int(features[0])
        self.ups = nn.ModuleList(
            UpCat(
                spatial_dims,
                below,
                above if skips else 0,
                above,
                _ACTIVATION,
                _norm(group_size, above),
                True,
                halves=False,
                is_pad=False,  # sides are multiples of the stride
            )
            for below, above in zip(list(features)[:0:-1], list(features)[-2::-1], strict=True)
        )

    def forward(self, found: list[torch.Tensor]) -> torch.Tensor:
        x = found[-1]
        for place, up in enumerate(self.ups):
            x = up(x, found[len(found) - 2 - place] if self.skips else None)
        return x


class UNet(nn.Module):
    """Encoder, decoder and one convolution: a value for each pixel and output channel.

    Args:
        spatial_dims: see :class:`UNetEncoder`.
        in_channels: see there.
        out_channels: of the result.
        features: see :class:`UNetEncoder`.
        group_size: see there.
        skips: see :class:`UNetDecoder`.

    Shape:
        - input ``(B, in_channels, ...)``; output ``(B, out_channels, ...)``, neither squashed nor scaled.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        group_size: int,
        skips: bool = True,
    ) -> None:
        super().__init__()
        self.trunk = UNetEncoder(spatial_dims, in_channels, features, group_size)
        self.decoder = UNetDecoder(spatial_dims, features, group_size, skips)
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        self.head = convolution(self.decoder.channels, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder(self.trunk(image)))

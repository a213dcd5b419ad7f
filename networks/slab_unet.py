"""A volume segmented slice by slice, each slice seen with its neighbors: "pseudo-3-D" [blendowski2019learn].

In scans of thick slices a 3-D convolution mixes what lies far apart; here slices are the items of a batch,
and the neighbors of a slice are its channels. The network takes and gives volumes, so that whatever serves a
3-D network serves it too, and its trunk is the very :class:`~siamed.networks.unet.UNetEncoder` that tasks on
slabs pretrain.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .mixed_precision import bfloat16_where_native
from .unet import UNet

__all__ = ["SlabUNet", "slabs"]


def slabs(volume: torch.Tensor, slices: int) -> torch.Tensor:
    """Each slice of volumes with its neighbors.

    Args:
        volume: ``(B, 1, D, H, W)``.
        slices: odd; beyond the first and the last slice these are repeated.

    Returns:
        ``(B * D, slices, H, W)``.

    Raises:
        ValueError: if volumes have several channels.
    """
    if volume.ndim != 5 or volume.shape[1] != 1:
        raise ValueError(f"volume must be (B, 1, D, H, W), got {list(volume.shape)}")
    depth, beyond = volume.shape[2], slices // 2
    parts = [volume[:, :, :1]] * beyond + [volume] + [volume[:, :, -1:]] * beyond
    padded = torch.cat(parts, dim=2)[:, 0]
    return torch.stack([padded[:, k : k + depth] for k in range(slices)], dim=2).flatten(0, 1)


class SlabUNet(UNet):
    """A 2-D U-Net over the slices of a volume, or over slabs that were cut before.

    Args:
        slices: of a slab, odd: the slice that is segmented and its neighbors.
        out_channels: of the result.
        features: see :class:`~siamed.networks.unet.UNetEncoder`.
        group_size: see there.
        skips: see :class:`~siamed.networks.unet.UNetDecoder`.
        bfloat16: train in bfloat16 where the machine has it.

    Shape:
        - input ``(B, 1, D, H, W)``, H and W multiples of the trunk's stride; output
          ``(B, out_channels, D, H, W)``;
        - or slabs ``(B, slices, H, W)``; output ``(B, out_channels, H, W)``, of their middle slices. A
          training sees more scans a step by them.

    Raises:
        ValueError: if slices is even; in a call, if the image has several channels.
    """

    def __init__(
        self,
        slices: int,
        out_channels: int,
        features: Sequence[int],
        group_size: int,
        skips: bool = True,
        bfloat16: bool = False,
    ) -> None:
        if slices < 1 or slices % 2 == 0:
            raise ValueError(f"slices must be odd, a slice has as many neighbors on each side; got {slices}")
        super().__init__(2, slices, out_channels, features, group_size, skips)
        self.slices = int(slices)
        self.in_bfloat16 = bfloat16  # nn.Module has a method bfloat16

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with bfloat16_where_native(image.device):
                    return self._segment(image).float()
        return self._segment(image)

    def _segment(self, image: torch.Tensor) -> torch.Tensor:
        is_slab = image.dim() == 4
        found = self.head(self.decoder(self.trunk(image if is_slab else slabs(image, self.slices))))
        return found if is_slab else found.unflatten(0, (image.shape[0], image.shape[2])).transpose(1, 2)

"""Two-dimensional U-Net that finds vertebral bodies in sagittal slices.

A small encoder-decoder [ronneberger2015unet] with instance normalization, so that one weight file serves any
contrast and any batch size. A strided first convolution halves the resolution: the maps are smooth, so they
are computed at half the pixels and interpolated back, at a quarter of the cost [D-0021]. It maps a slice to
19 channels: center heatmaps, corner heatmaps, offsets from centers to corners, tissue scores;
``siamed.transforms.vertebra_targets`` holds the layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet
from torch import nn
from torch.nn import functional

from .mixed_precision import bfloat16_where_native

__all__ = ["VertebraDetectorNet"]


class VertebraDetectorNet(nn.Module):
    """U-Net over single sagittal slices.

    Args:
        out_channels: number of output maps.
        features: widths of the five levels and of the last layer, as in MONAI's ``BasicUNet``.
        bfloat16: train in bfloat16 (on processors and GPUs that have it, about half the time a step);
            inference always runs in the weights' own precision.

    Shape:
        - input ``(B, 1, H, W)`` float, H and W multiples of 32, scaled by ``slice_percentile_scale``;
        - output ``(B, out_channels, H, W)``: logits for heatmaps and tissues, raw values for offsets.
    """

    def __init__(self, out_channels: int, features: Sequence[int], bfloat16: bool = False) -> None:
        super().__init__()
        self.train_in_bfloat16 = bfloat16
        self.stem = nn.Conv2d(1, features[0], kernel_size=5, stride=2, padding=2)
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=features[0],
            out_channels=out_channels,
            features=tuple(features),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=("instance", {"affine": True}),
            upsample="nontrainable",
        )
        head = self.unet.final_conv
        if head.bias is not None:
            with torch.no_grad():
                head.bias[:7] = -4.0  # heatmaps are nearly empty: start there

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.train_in_bfloat16 and self.training:
                with bfloat16_where_native(image.device):
                    return self._maps(image)
        return self._maps(image)

    def _maps(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.unet(self.stem(image)).float()
        return functional.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)

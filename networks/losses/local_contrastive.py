"""The local contrastive loss: a place must find itself in the image's other view, among the image's other
places.

Two views of an image, changed in intensity alone, give two feature maps. Each is averaged over a grid of
regions; region r of one view and region r of the other are a positive pair, and the other regions of both
views of the same image are the negatives [chaitanya2020contrastive, Eq. 3]. That is NT-Xent within an image.
"""

from __future__ import annotations

import torch
from torch import nn

from .nt_xent import NTXentLoss

__all__ = ["LocalContrastiveLoss"]


class LocalContrastiveLoss(nn.Module):
    """NT-Xent over the regions of each image.

    Args:
        temperature: tau, above 0.
        regions: rows and columns (and slices) of the grid that a feature map is averaged over; at least 2
            in all.

    Shape:
        - features ``(B, 2, E, ...)``: two views of each image, two or three spatial axes;
        - label: not looked at, there is none; a training engine hands one over;
        - output: scalar.
    """

    def __init__(self, temperature: float, regions: tuple[int, ...]) -> None:
        super().__init__()
        self.regions = tuple(int(n) for n in regions)
        if len(self.regions) not in (2, 3) or min(self.regions) < 1 or max(self.regions) < 2:
            raise ValueError(f"regions must be two or three counts, not all 1, got {tuple(regions)}")
        pool = nn.AdaptiveAvgPool2d if len(self.regions) == 2 else nn.AdaptiveAvgPool3d
        self.pool, self.loss = pool(self.regions), NTXentLoss(temperature)

    def forward(self, features: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        axes = len(self.regions)
        if features.ndim != 3 + axes or features.shape[1] != 2:
            raise ValueError(
                f"features must be (B, 2, E, ...) with {axes} spatial axes, got {tuple(features.shape)}"
            )
        images = len(features)
        means = self.pool(features.flatten(0, 1)).flatten(2)  # (B 2, E, R)
        count = means.shape[2]
        embeddings = means.transpose(1, 2).flatten(0, 1)
        image = torch.arange(images, device=features.device).repeat_interleave(2 * count)
        region = torch.arange(count, device=features.device).repeat(2 * images)
        return self.loss(embeddings, region, image)

"""Loss of the vertebra detector: heatmaps, offsets and tissues.

``L = w_h * mean(w (1 + a g) BCE(h, g)) + w_o * sum(m |o - t|) / sum(m) + w_t * CE(s, c)`` with heatmap
logits h, soft Gaussian targets g, weights w (zero where a label is uncertain), positive emphasis a (one for
each heatmap), offsets o with targets t on the mask m around centers, tissue logits s and classes c [D-0021].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["VertebraDetectionLoss"]


class VertebraDetectionLoss(nn.Module):
    """Weighted sum of the three parts; a mean over the batch.

    Args:
        heatmap_weight: w_h.
        offset_weight: w_o.
        tissue_weight: w_t.
        positive_emphasis: a for the 7 heatmaps: they are nearly all background, and S1 and cut bodies are
            rare.

    Shape:
        - input ``(B, 19, H, W)``: 7 heatmap logits, 8 offsets, 4 tissue logits;
        - target ``(B, 25, H, W)``: 7 heatmaps, 8 offsets, 7 heatmap weights, 2 offset weights, tissue class;
        - output: scalar.
    """

    def __init__(
        self,
        heatmap_weight: float,
        offset_weight: float,
        tissue_weight: float,
        positive_emphasis: Sequence[float],
    ) -> None:
        super().__init__()
        if len(positive_emphasis) != 7:
            raise ValueError(
                f"positive_emphasis must have one value for each of 7 heatmaps, got {len(positive_emphasis)}"
            )
        self.heatmap_weight, self.offset_weight = heatmap_weight, offset_weight
        self.tissue_weight = tissue_weight
        self.emphasis: torch.Tensor
        self.register_buffer(
            "emphasis", torch.tensor(list(positive_emphasis)).view(1, 7, 1, 1), persistent=False
        )

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if input.shape[1] != 19 or target.shape[1] != 25:
            raise ValueError(
                f"input must have 19 and target 25 channels, got {input.shape[1]} and {target.shape[1]}"
            )
        heat, offsets, weights = target[:, :7], target[:, 7:15], target[:, 15:22]
        emphasis = weights * (1 + self.emphasis * heat)
        entropy = functional.binary_cross_entropy_with_logits(input[:, :7], heat, reduction="none")
        heatmap = (emphasis * entropy).mean()
        mask = target[:, 22:24].repeat_interleave(4, dim=1)
        offset = (mask * (input[:, 7:15] - offsets).abs()).sum() / mask.sum().clamp(min=1)
        tissue = functional.cross_entropy(input[:, 15:], target[:, 24].long())
        return self.heatmap_weight * heatmap + self.offset_weight * offset + self.tissue_weight * tissue

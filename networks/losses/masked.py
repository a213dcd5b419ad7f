"""A regression loss that looks at some pixels alone.

``L = sum_i m_i |p_i - x_i|^k / (sum_i m_i * C)``, k = 1 or 2, over the pixels i of a batch; m is 1 where a
pixel was replaced or removed [umapathy2022, Fig. 1].
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["MaskedLoss"]


class MaskedLoss(nn.Module):
    """Mean absolute or squared error inside a mask.

    Args:
        power: 1 or 2.

    Shape:
        - pred ``(B, C, ...)``; target ``(B, C + 1, ...)``, whose last channel is the mask, 0 or 1;
        - output: scalar, 0 where the mask is empty.
    """

    def __init__(self, power: int) -> None:
        super().__init__()
        if power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {power}")
        self.power = power

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        channels = pred.shape[1]
        if target.shape != (pred.shape[0], channels + 1, *pred.shape[2:]):
            raise ValueError(
                f"target must be (B, {channels + 1}, ...), the mask last, for pred {tuple(pred.shape)}, got "
                f"{tuple(target.shape)}"
            )
        image, mask = target[:, :channels], target[:, channels:]
        error = (pred.float() - image).abs() ** self.power * mask
        return error.sum() / (mask.sum() * channels).clamp(min=1)

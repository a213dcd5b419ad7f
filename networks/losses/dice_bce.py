"""Loss of a segmenting network with a reconstruction branch [dhere2021, Sec. 2, 3.1].

``L = w L_Dice + (1 - w) L_BCE + r mean (x' - x)^2`` with the soft Dice loss of [milletari2016vnet],
``L_Dice = 1 - 2 sum p g / (sum p^2 + sum g^2)``, class-weighted binary cross-entropy, and the image x' that
the reconstruction branch gives back. w starts at 0.4 and rises as training goes on, what BCE loses Dice
gains.
"""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn import functional

__all__ = ["DiceBCELoss"]


class DiceBCELoss(nn.Module):
    """Weighted sum of soft Dice, binary cross-entropy and reconstruction.

    Args:
        dice_weight: w, in [0, 1]; may be set anew while training.
        positive_weight: of the structure's voxels in the cross-entropy, above 0.
        reconstruction_weight: r.

    Shape:
        - input ``(B, 2, D, H, W)``: logits and the reconstructed image; or ``(B, 1, D, H, W)``, logits alone,
          as a network gives them when it does not train: L_R is then left out;
        - target ``(B, 2, D, H, W)``: 1 in the structure and 0 elsewhere, and the image;
        - output: scalar.
    """

    def __init__(self, dice_weight: float, positive_weight: float, reconstruction_weight: float) -> None:
        super().__init__()
        if not 0 <= dice_weight <= 1:
            raise ValueError(f"dice_weight must lie in [0, 1], got {dice_weight}")
        if not positive_weight > 0:
            raise ValueError(f"positive_weight must be above 0, got {positive_weight}")
        self.dice_weight, self.reconstruction_weight = float(dice_weight), float(reconstruction_weight)
        self.positive_weight: torch.Tensor
        self.register_buffer("positive_weight", torch.tensor(float(positive_weight)), persistent=False)
        # Over the batch: a crop without the structure alone would have no Dice.
        self.dice = DiceLoss(sigmoid=True, squared_pred=True, batch=True)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if input.shape[1] not in (1, 2) or target.shape[1] != 2 or input.shape[2:] != target.shape[2:]:
            raise ValueError(
                f"input must be (B, 1 or 2, D, H, W) and target (B, 2, D, H, W), got {list(input.shape)} and "
                f"{list(target.shape)}"
            )
        logits, mask = input[:, :1].float(), target[:, :1].float()
        bce = functional.binary_cross_entropy_with_logits(logits, mask, pos_weight=self.positive_weight)
        loss = self.dice_weight * self.dice(logits, mask) + (1 - self.dice_weight) * bce
        if input.shape[1] == 2:
            loss = loss + self.reconstruction_weight * functional.mse_loss(
                input[:, 1].float(), target[:, 1].float()
            )
        return loss

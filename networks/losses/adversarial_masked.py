"""In-painting with an adversary: what is filled in must pass for an image [pathak2016context, Eq. 2 and 3].

``L = L_masked + w L_adv``. L_masked is the error inside the boxes, which alone gives the mean of what could
be there, a blur; L_adv says how easily a discriminator tells the filled image from a real one. Both are
least-squares losses of patches (MONAI's). The discriminator learns within the loss, one step a batch, so that
the training around it is like any other.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn

from .masked import MaskedLoss

__all__ = ["AdversarialMaskedLoss"]


class AdversarialMaskedLoss(nn.Module):
    """Masked error and a discriminator.

    Without gradients, as in a validation, it is the masked error alone and nobody learns. Its state holds the
    discriminator and its optimizer: name it among a training's checkpointed objects.

    Args:
        power: see :class:`~siamed.networks.losses.masked.MaskedLoss`.
        discriminator: gives patches' scores of images ``(B, C, ...)``, such as MONAI's PatchDiscriminator.
        weight: w, at least 0.
        lr: of the discriminator's Adam, above 0.

    Shape:
        - pred ``(B, C, ...)``; target ``(B, C + 1, ...)``, whose last channel is the mask, 0 or 1;
        - output: scalar.

    Raises:
        ValueError: if a setting is impossible.
    """

    def __init__(self, power: int, discriminator: nn.Module, weight: float, lr: float) -> None:
        super().__init__()
        if not weight >= 0 or not lr > 0:
            raise ValueError(f"weight must be at least 0 and lr above 0, got {weight} and {lr}")
        self.masked, self.weight = MaskedLoss(power), float(weight)
        self.discriminator = discriminator
        self.adversarial = PatchAdversarialLoss(criterion="least_squares")
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        error = self.masked(pred, target)
        if not torch.is_grad_enabled():
            return error
        image, mask = target[:, : pred.shape[1]], target[:, pred.shape[1] :]
        filled = torch.where(mask > 0, pred.float(), image)
        self._learn(image, filled.detach())
        self.discriminator.requires_grad_(False)  # the error goes through it to the image, and stays there
        passing = self.adversarial(self._scores(filled), target_is_real=True, for_discriminator=False)
        self.discriminator.requires_grad_(True)
        return error + self.weight * passing

    def _learn(self, real: torch.Tensor, filled: torch.Tensor) -> None:
        """One step of the discriminator."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = [
            self.adversarial(self._scores(seen), target_is_real=is_real, for_discriminator=True)
            for seen, is_real in ((real, True), (filled, False))
        ]
        (sum(losses) / 2).backward()
        self.optimizer.step()

    def _scores(self, image: torch.Tensor) -> torch.Tensor:
        found = self.discriminator(image)
        return found[-1] if isinstance(found, (list, tuple)) else found  # MONAI's gives its features too

    def get_extra_state(self) -> dict[str, Any]:
        """The discriminator's optimizer, for a training that is resumed."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.optimizer.load_state_dict(state)

"""In-painting with an adversary: two losses, a step of the discriminator a batch, none in a validation."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import PatchDiscriminator
from torch import nn

from siamed.networks.losses.adversarial_masked import AdversarialMaskedLoss
from siamed.networks.losses.masked import MaskedLoss


class Mean(nn.Module):
    """Scores an image by a multiple of its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.times = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.times * image.flatten(1).mean(1)


def case() -> tuple[torch.Tensor, torch.Tensor]:
    """One image of ones, half of it hidden, and an answer of 0.5 everywhere."""
    target = torch.ones(1, 2, 2, 2)
    target[:, 1, 0] = 0
    return torch.full((1, 1, 2, 2), 0.5, requires_grad=True), target


def test_without_gradients_it_is_the_masked_error_and_nobody_learns() -> None:
    loss = AdversarialMaskedLoss(1, Mean(), weight=1.0, lr=0.1)
    pred, target = case()
    with torch.no_grad():
        assert loss(pred, target).item() == pytest.approx(0.5)
    assert loss.discriminator.times.item() == 1.0


def test_the_discriminator_learns_to_tell_and_the_network_to_pass() -> None:
    loss = AdversarialMaskedLoss(1, Mean(), weight=2.0, lr=0.1)
    pred, target = case()
    value = loss(pred, target)
    # The filled image has a mean of 0.75; the score goes through a leaky ReLU, which leaves it as it is.
    # Step of the discriminator: d/dt of ((t - 1)^2 + (0.75 t)^2) / 2 at t = 1 is 0.5625 > 0, and Adam's first
    # step is as long as its rate.
    times = loss.discriminator.times.item()
    assert times == pytest.approx(0.9, abs=1e-6)
    assert value.item() == pytest.approx(0.5 + 2 * (0.75 * times - 1) ** 2)
    value.backward()
    assert loss.discriminator.times.grad is None or loss.discriminator.times.grad.item() == pytest.approx(
        0.5625
    )
    # What was not hidden gets no gradient; what was is drawn towards the image by both losses.
    assert torch.equal(pred.grad[0, 0, 0], torch.zeros(2))
    assert (pred.grad[0, 0, 1] < 0).all()


def test_weight_zero_trains_as_the_masked_loss_does() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(2, 4, 3, norm="instance")
    pred, target = torch.randn(2, 3, 32, 32, requires_grad=True), torch.randn(2, 4, 32, 32)
    target[:, 3] = (target[:, 3] > 0).float()
    AdversarialMaskedLoss(2, critic, weight=0.0, lr=1e-3)(pred, target).backward()
    alone = pred.detach().requires_grad_()
    MaskedLoss(2)(alone, target).backward()
    torch.testing.assert_close(pred.grad, alone.grad)


def test_a_resumed_one_goes_on_where_it_stood() -> None:
    torch.manual_seed(0)
    first = AdversarialMaskedLoss(1, PatchDiscriminator(2, 4, 1, norm="instance"), weight=0.1, lr=1e-3)
    other = AdversarialMaskedLoss(1, PatchDiscriminator(2, 4, 1, norm="instance"), weight=0.1, lr=1e-3)
    pred, target = torch.randn(2, 1, 32, 32), torch.randn(2, 2, 32, 32).abs().clamp(max=1).round()
    for _ in range(3):
        first(pred, target)
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    values = [[loss(pred, target).item() for _ in range(3)] for loss in (first, other)]
    assert values[0] == values[1]


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="weight must be at least 0 and lr above 0, got -1 and 0.1"):
        AdversarialMaskedLoss(1, Mean(), weight=-1, lr=0.1)

"""The masked loss: by hand, and blind to what it must not see."""

from __future__ import annotations

import pytest
import torch

from siamed.networks.losses.masked import MaskedLoss


def example() -> tuple[torch.Tensor, torch.Tensor]:
    pred = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    image, mask = torch.tensor([[1.5, 0.0], [5.0, 9.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    return pred, torch.stack([image, mask])[None]


@pytest.mark.parametrize(("power", "expected"), [(1, (0.5 + 2.0) / 2), (2, (0.25 + 4.0) / 2)])
def test_it_is_the_mean_error_inside_the_mask(power: int, expected: float) -> None:
    pred, target = example()
    assert MaskedLoss(power)(pred, target).item() == pytest.approx(expected)


def test_a_clean_pixels_target_changes_nothing_and_its_gradient_is_zero() -> None:
    pred, target = example()
    loss = MaskedLoss(1)(pred, target)
    loss.backward()
    changed = target.clone()
    changed[0, 0, :, 1] += 100
    assert MaskedLoss(1)(pred, changed).item() == loss.item()
    assert pred.grad is not None
    assert torch.equal(pred.grad[0, 0] != 0, target[0, 1].bool())


def test_an_empty_mask_costs_nothing() -> None:
    pred, target = example()
    target[:, 1] = 0
    loss = MaskedLoss(1)(pred, target)
    loss.backward()
    assert loss.item() == 0


def test_channels_share_the_mask() -> None:
    pred, mask = torch.zeros(2, 3, 4, 4), torch.ones(2, 1, 4, 4)
    assert MaskedLoss(1)(pred, torch.cat([torch.ones(2, 3, 4, 4), mask], 1)).item() == pytest.approx(1)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="power must be 1 or 2, got 3"):
        MaskedLoss(3)
    with pytest.raises(ValueError, match=r"target must be \(B, 2, ...\), the mask last"):
        MaskedLoss(1)(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))

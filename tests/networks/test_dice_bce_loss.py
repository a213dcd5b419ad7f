"""The segmentation loss against its equations, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference import dice_bce_loss as slow
from siamed.networks.losses.dice_bce import DiceBCELoss


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.normal(size=(2, 2, 3, 4, 5)).astype(np.float32))
    mask = torch.from_numpy((rng.random((2, 1, 3, 4, 5)) < 0.3).astype(np.float32))
    image = torch.from_numpy(rng.normal(size=(2, 1, 3, 4, 5)).astype(np.float32))
    return output, torch.cat([mask, image], dim=1)


@pytest.mark.parametrize(("share", "positive", "weight"), [(0.4, 1.0, 0.1), (0.0, 3.0, 0.0), (1.0, 1.0, 2.0)])
def test_it_is_the_weighted_sum_of_its_three_parts(share: float, positive: float, weight: float) -> None:
    output, target = batch()
    logits, mask = output[:, 0].numpy(), target[:, 0].numpy()
    expected = share * slow.dice_loss(logits, mask) + (1 - share) * slow.bce(logits, mask, positive)
    alone = DiceBCELoss(share, positive, weight)(output[:, :1], target)
    assert float(alone) == pytest.approx(expected, rel=1e-4)
    expected += weight * slow.reconstruction(output[:, 1].numpy(), target[:, 1].numpy())
    assert float(DiceBCELoss(share, positive, weight)(output, target)) == pytest.approx(expected, rel=1e-4)


def test_a_perfect_answer_costs_nothing_and_an_empty_crop_has_a_gradient() -> None:
    _, target = batch()
    perfect = torch.cat([40 * target[:, :1] - 20, target[:, 1:]], dim=1)
    assert float(DiceBCELoss(0.5, 1.0, 1.0)(perfect, target)) < 1e-4
    nothing = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    DiceBCELoss(0.5, 1.0, 1.0)(nothing, torch.zeros(1, 2, 2, 2, 2)).backward()
    assert nothing.grad is not None
    assert bool((nothing.grad > 0).all())
    assert bool(nothing.grad.isfinite().all())


def test_wrong_shapes_and_weights_are_refused() -> None:
    output, target = batch()
    with pytest.raises(ValueError, match=r"target \(B, 2, D, H, W\), got .* and \[2, 1, 3, 4, 5\]"):
        DiceBCELoss(0.4, 1.0, 0.1)(output, target[:, :1])
    with pytest.raises(ValueError, match=r"dice_weight must lie in \[0, 1\], got 1.2"):
        DiceBCELoss(1.2, 1.0, 0.1)
    with pytest.raises(ValueError, match="positive_weight must be above 0, got 0"):
        DiceBCELoss(0.4, 0.0, 0.1)

"""NT-Xent and the local loss against slow double loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.contrastive import local_contrastive, nt_xent
from siamed.networks.losses.local_contrastive import LocalContrastiveLoss
from siamed.networks.losses.nt_xent import NTXentLoss


def test_nt_xent_is_the_double_loop() -> None:
    embeddings = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    person, group = [0, 0, 1, 1, 2, 0, 0, 1, 3], [0, 0, 0, 0, 0, 1, 1, 1, 0]
    loss = NTXentLoss(0.3)(embeddings, torch.tensor(person), torch.tensor(group))
    assert loss.item() == pytest.approx(nt_xent(embeddings.numpy(), person, group, 0.3), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_local_loss_is_the_double_loop(temperature: float) -> None:
    features = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    loss = LocalContrastiveLoss(temperature, (3, 2))(features)
    assert loss.item() == pytest.approx(local_contrastive(features.numpy(), 3, 2, temperature), rel=1e-5)


def test_views_that_agree_place_by_place_cost_less_than_views_that_do_not() -> None:
    first = torch.randn(2, 1, 8, 4, 4, generator=torch.Generator().manual_seed(2))
    loss = LocalContrastiveLoss(0.1, (2, 2))
    alike = loss(torch.cat([first, first], 1))
    shifted = loss(torch.cat([first, first.roll(2, -1)], 1))
    assert alike < 0.1 < shifted


def test_places_of_other_images_are_no_negatives() -> None:
    features = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    loss = LocalContrastiveLoss(0.5, (2, 2))
    apart = (loss(features[:1]) + loss(features[1:])) / 2
    torch.testing.assert_close(loss(features), apart)


def test_the_local_loss_has_a_gradient_in_three_dimensions() -> None:
    features = torch.randn(1, 2, 3, 4, 4, 4, requires_grad=True)
    LocalContrastiveLoss(0.1, (2, 2, 2))(features).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert float(features.grad.abs().sum()) > 0


def test_wrong_settings_and_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"regions must be two or three counts, not all 1, got \(1, 1\)"):
        LocalContrastiveLoss(0.1, (1, 1))
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        LocalContrastiveLoss(0, (2, 2))
    with pytest.raises(ValueError, match=r"features must be \(B, 2, E, ...\) with 2 spatial axes"):
        LocalContrastiveLoss(0.1, (2, 2))(torch.zeros(3, 4, 8, 8))
    assert np.isfinite(LocalContrastiveLoss(0.1, (2, 2))(torch.zeros(1, 2, 3, 4, 4)).item())

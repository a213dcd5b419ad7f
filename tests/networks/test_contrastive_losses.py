"""NT-Xent, the global and the local loss against slow double loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.contrastive import global_contrastive, local_contrastive, nt_xent
from siamed.networks.losses.global_contrastive import ALONE, GlobalContrastiveLoss
from siamed.networks.losses.local_contrastive import LocalContrastiveLoss
from siamed.networks.losses.nt_xent import NTXentLoss


def test_nt_xent_is_the_double_loop() -> None:
    embeddings = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    person, group = [0, 0, 1, 1, 2, 0, 0, 1, 3], [0, 0, 0, 0, 0, 1, 1, 1, 0]
    loss = NTXentLoss(0.3)(embeddings, torch.tensor(person), torch.tensor(group))
    assert loss.item() == pytest.approx(nt_xent(embeddings.numpy(), person, group, 0.3), rel=1e-5)


LIKE = {
    "no parts": [ALONE] * 5,
    "parts": [2, 0, 2, 1, 2],
    "parts and images alone": [0, ALONE, 0, ALONE, 3],
    "one part": [4] * 5,
}


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("name", LIKE)
def test_the_global_loss_is_the_double_loop(name: str, temperature: float, views: int) -> None:
    embeddings = torch.randn(5, views, 4, generator=torch.Generator().manual_seed(4))
    loss = GlobalContrastiveLoss(temperature)(embeddings, torch.tensor(LIKE[name]))
    expected = global_contrastive(embeddings.numpy(), LIKE[name], temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_two_images_of_perpendicular_embeddings_by_hand() -> None:
    embeddings = torch.eye(2)[:, None].expand(2, 2, 2)
    # Each view has its partner at cosine 1 and the two views of the other image at cosine 0.
    loss = GlobalContrastiveLoss(1.0)
    apart = loss(embeddings, torch.tensor([ALONE, ALONE]))
    assert apart.item() == pytest.approx(np.log(np.e + 2) - 1)
    # As one part all three are partners.
    together = loss(embeddings, torch.tensor([7, 7]))
    assert together.item() == pytest.approx(np.log(np.e + 2) - 1 / 3)


def test_numbers_of_parts_are_names() -> None:
    embeddings = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(5))
    loss = GlobalContrastiveLoss(0.5)
    small, large = (loss(embeddings, torch.tensor(like)) for like in ([0, 1, 0, -1], [9, 3, 9, -1]))
    torch.testing.assert_close(small, large)


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
    with pytest.raises(ValueError, match="temperature must be above 0, got -1"):
        GlobalContrastiveLoss(-1)
    with pytest.raises(ValueError, match=r"embeddings must be \(B, V, E\) and like \(B,\), got \(4, 8\) and"):
        GlobalContrastiveLoss(0.1)(torch.zeros(4, 8), torch.zeros(4))
    with pytest.raises(ValueError, match=r"like \(B,\), got \(4, 2, 8\) and \(8,\)"):
        GlobalContrastiveLoss(0.1)(torch.zeros(4, 2, 8), torch.zeros(8))
    with pytest.raises(ValueError, match=r"features must be \(B, 2, E, ...\) with 2 spatial axes"):
        LocalContrastiveLoss(0.1, (2, 2))(torch.zeros(3, 4, 8, 8))
    assert np.isfinite(LocalContrastiveLoss(0.1, (2, 2))(torch.zeros(1, 2, 3, 4, 4)).item())

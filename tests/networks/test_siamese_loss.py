"""Contrastive and level loss against the slow reference; gradients where a distance is zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference import siamese_loss as slow
from siamed.networks.losses.contrastive import ContrastiveLoss, embedding_distance
from siamed.networks.losses.nt_xent import NTXentLoss
from siamed.networks.losses.siamese import SiameseLoss

SAME = [True, False, False, True, False]


def embeddings(seed: int = 0, count: int = 5, scale: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (scale * torch.randn(count, 4, generator=generator) for _ in range(2))
    return first, second


def test_a_pair_by_hand() -> None:
    # Distance 5 by the 3-4-5 triangle: 25 for one person, (6 - 5)^2 for two, nothing beyond a margin of 4.
    first, second = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    for same, margin, expected in [(True, 6, 25.0), (False, 6, 1.0), (False, 4, 0.0)]:
        assert float(ContrastiveLoss(margin, "sum")(first, second, torch.tensor([same]))) == pytest.approx(
            expected
        )


def test_the_squared_distance_as_it_is_printed_for_kidneys() -> None:
    # d is 25: its square for one side, (30 - 25)^2 for two, nothing beyond a margin of 20.
    first, second = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    for same, margin, expected in [(True, 30, 625.0), (False, 30, 25.0), (False, 20, 0.0)]:
        loss = ContrastiveLoss(margin, "sum", squared=True)(first, second, torch.tensor([same]))
        assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_the_three_reductions_equal_the_reference(margin: float) -> None:
    first, second = embeddings()
    terms, total = slow.contrastive_loss(first.numpy(), second.numpy(), SAME, margin)
    of_kind = [[t for t, s in zip(terms, SAME, strict=True) if s is kind] for kind in (True, False)]
    balanced = np.mean([np.mean(kind) for kind in of_kind])
    for reduction, expected in [("sum", total), ("mean", total / 5), ("balanced", balanced)]:
        loss = ContrastiveLoss(margin, reduction)(first, second, torch.tensor(SAME))
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "balanced"])
def test_equal_embeddings_have_a_finite_gradient(reduction: str) -> None:
    first = torch.ones(3, 4, requires_grad=True)
    ContrastiveLoss(1.0, reduction)(first, torch.ones(3, 4), torch.tensor([True, False, False])).backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


def test_the_gradient_is_that_of_finite_differences() -> None:
    first, second = (e.double() for e in embeddings(1))
    loss = ContrastiveLoss(1.5, "sum")
    assert torch.autograd.gradcheck(lambda x: loss(x, second, torch.tensor(SAME)), first.requires_grad_())


def test_the_distance_is_torchs_own() -> None:
    first, second = embeddings(2)
    torch.testing.assert_close(
        embedding_distance(first, second), torch.nn.functional.pairwise_distance(first, second, eps=0)
    )


def test_no_pairs_cost_nothing() -> None:
    empty = torch.zeros(0, 4, requires_grad=True)
    loss = ContrastiveLoss(1.0, "balanced")(empty, empty, torch.zeros(0, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0


def siamese(all_pairs: bool, weight: float = 0.7) -> SiameseLoss:
    return SiameseLoss(ContrastiveLoss(1.0, "mean"), [1.0, 0.5, 2.0], weight, 4, all_pairs)


def output(seed: int = 3, count: int = 5) -> torch.Tensor:
    return 0.6 * torch.randn(count, 2, 7, generator=torch.Generator().manual_seed(seed))


TARGET = torch.tensor([[1, 0, 10, 10], [0, 0, 11, 12], [0, 2, 13, 14], [1, 2, 15, 15], [0, 2, 13, 15]])


def test_given_pairs_and_levels_equal_the_reference() -> None:
    out = output()
    _, total = slow.contrastive_loss(out[:, 0, :4].numpy(), out[:, 1, :4].numpy(), TARGET[:, 0].tolist(), 1.0)
    level = slow.level_loss(
        out[:, :, 4:].reshape(10, 3).numpy(), TARGET[:, 1].repeat_interleave(2).tolist(), [1.0, 0.5, 2.0]
    )
    assert float(siamese(False)(out, TARGET)) == pytest.approx(total / 5 + 0.7 * level, rel=1e-5)


def test_all_pairs_are_those_of_one_level_by_their_persons() -> None:
    out = output()
    volumes = [
        (out[n, m, :4].numpy(), int(TARGET[n, 1]), int(TARGET[n, 2 + m])) for n in range(5) for m in range(2)
    ]
    pairs = [(a, b) for i, a in enumerate(volumes) for b in volumes[i + 1 :] if a[1] == b[1]]
    assert len(pairs) == 6 + 15  # four volumes of one level, six of the other
    first, second = (np.stack([pair[m][0] for pair in pairs]) for m in range(2))
    _, total = slow.contrastive_loss(first, second, [a[2] == b[2] for a, b in pairs], 1.0)
    assert float(siamese(True, weight=0.0)(out, TARGET)) == pytest.approx(total / len(pairs), rel=1e-5)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="margin must be above 0, got 0"):
        ContrastiveLoss(0, "sum")
    with pytest.raises(ValueError, match="reduction must be"):
        ContrastiveLoss(1, "none")
    with pytest.raises(ValueError, match=r"first and second must be \(N, E\)"):
        ContrastiveLoss(1, "sum")(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"input must be \(B, 2, E \+ K\)"):
        siamese(True)(torch.zeros(2, 7), TARGET[:2])


def nt_xent_by_hand(volumes: list[tuple], temperature: float) -> float:
    terms = []
    for i, (anchor, level, person) in enumerate(volumes):
        near = {
            j: float(anchor @ other / np.linalg.norm(anchor) / np.linalg.norm(other)) / temperature
            for j, (other, its_level, _) in enumerate(volumes)
            if j != i and its_level == level
        }
        partners = [j for j in near if volumes[j][2] == person]
        if partners:
            total = np.log(sum(np.exp(s) for s in near.values()))
            terms.append(np.mean([total - near[j] for j in partners]))
    return float(np.mean(terms))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_equals_its_equation_within_levels(temperature: float) -> None:
    out = output()
    volumes = [
        (out[n, m, :4].double().numpy(), int(TARGET[n, 1]), int(TARGET[n, 2 + m]))
        for n in range(5)
        for m in range(2)
    ]
    loss = SiameseLoss(NTXentLoss(temperature), [1.0, 1.0, 1.0], 0.0, 4, True)
    assert float(loss(out, TARGET)) == pytest.approx(nt_xent_by_hand(volumes, temperature), rel=1e-4)


def test_nt_xent_of_two_persons_by_hand() -> None:
    # Each finds its twin at similarity 1 beside two at 0: -log(e / (e + 2)).
    e = torch.eye(2).repeat_interleave(2, 0)
    loss = NTXentLoss(1.0)(3 * e, torch.tensor([1, 1, 2, 2]), torch.zeros(4))
    assert float(loss) == pytest.approx(-np.log(np.e / (np.e + 2)), rel=1e-5)


def test_nt_xent_without_partners_costs_nothing_and_says_what_is_wrong() -> None:
    alone = torch.randn(3, 4, requires_grad=True)
    loss = NTXentLoss(0.1)(alone, torch.arange(3), torch.zeros(3))
    loss.backward()
    assert float(loss.detach()) == 0.0
    # Somebody alone in a group neither counts nor spoils the others' gradient.
    some = torch.randn(3, 4, requires_grad=True)
    loss = NTXentLoss(0.1)(some, torch.tensor([1, 1, 2]), torch.tensor([0, 0, 1]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)  # two alone together find each other
    assert some.grad is not None
    assert torch.isfinite(some.grad).all()
    with pytest.raises(ValueError, match="temperature must be above 0"):
        NTXentLoss(0)
    with pytest.raises(ValueError, match="all_pairs must be true with NT-Xent"):
        SiameseLoss(NTXentLoss(0.1), [1.0], 1.0, 4, False)
    with pytest.raises(ValueError, match=r"embeddings must be \(N, E\)"):
        NTXentLoss(0.1)(alone, torch.arange(2), torch.zeros(3))

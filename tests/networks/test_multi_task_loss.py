"""The loss of several gradings: the paper's balance, missing labels, softened labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reference import multi_task_loss as slow
from siamed.networks.losses.multi_task import MISSING, MultiTaskLoss, class_weights

CLASSES = [5, 2, 4]
EVEN = [[1.0] * count for count in CLASSES]


def scores_and_labels(seed: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(MISSING, classes, (count,), generator=generator) for classes in CLASSES]
    return torch.randn(count, sum(CLASSES), generator=generator, dtype=torch.float64), torch.stack(labels, 1)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("softness", [[0.0, 0.0, 0.0], [0.5, 0.0, 1.5]])
def test_it_is_the_equation_of_the_paper(power: float, softness: list[float]) -> None:
    scores, labels = scores_and_labels(seed=3)
    weights = [class_weights(labels[:, t].numpy(), count, power) for t, count in enumerate(CLASSES)]
    for t, count in enumerate(CLASSES):
        assert weights[t] == pytest.approx(slow.class_weights(labels[:, t].tolist(), count, power))
    task_weights = [1.0, 0.3, 0.7]
    loss = MultiTaskLoss(CLASSES, weights, task_weights, softness)(scores.float(), labels)
    expected = slow.multi_task_loss(scores.numpy(), labels.numpy(), CLASSES, weights, task_weights, softness)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_without_balance_and_softness_it_is_torchs_cross_entropy() -> None:
    scores, labels = scores_and_labels(seed=5)
    loss = MultiTaskLoss(CLASSES, EVEN, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])(scores.float(), labels)
    parts = scores.float().split(CLASSES, dim=1)
    expected = sum(
        torch.nn.functional.cross_entropy(part, labels[:, t], ignore_index=MISSING)
        for t, part in enumerate(parts)
    )
    torch.testing.assert_close(loss, expected)


def test_full_balance_gives_each_class_the_same_share_of_the_loss() -> None:
    labels = np.array([0] * 30 + [1] * 6 + [MISSING] * 4)
    rare, common = 6 * class_weights(labels, 2, 1.0)[1], 30 * class_weights(labels, 2, 1.0)[0]
    assert rare == pytest.approx(common) == pytest.approx(18)


def test_a_class_that_never_occurs_weighs_one_and_an_empty_task_too() -> None:
    assert class_weights([0, 0, 2], 3, 1.0)[1] == 1.0
    assert class_weights([MISSING, MISSING], 2, 1.0) == [1.0, 1.0]


def test_a_missing_label_leaves_no_gradient() -> None:
    scores, labels = scores_and_labels(seed=7)
    labels[:4, 1] = MISSING
    scores = scores.float().requires_grad_()
    MultiTaskLoss(CLASSES, EVEN, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])(scores, labels).backward()
    assert scores.grad is not None
    assert float(scores.grad[:4, 5:7].abs().max()) == 0.0
    assert float(scores.grad[:, 5:7].abs().max()) > 0.0


def test_a_batch_without_any_label_gives_zero_that_can_be_differentiated() -> None:
    scores = torch.randn(3, sum(CLASSES), requires_grad=True)
    loss = MultiTaskLoss(CLASSES, EVEN, [1.0] * 3, [0.0] * 3)(scores, torch.full((3, 3), MISSING))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert scores.grad is not None
    assert float(scores.grad.abs().max()) == 0.0


def test_a_softened_label_by_hand() -> None:
    # Even scores: every grade has log p = -log 3, whatever the softened label, which sums to one.
    loss = MultiTaskLoss([3], [[2.0, 2.0, 2.0]], [0.5], [1.0])(torch.zeros(2, 3), torch.tensor([[0], [1]]))
    assert float(loss) == pytest.approx(0.5 * 2.0 * math.log(3))


def test_a_softened_label_prefers_the_neighboring_grade_to_the_far_one() -> None:
    loss = MultiTaskLoss([5], [[1.0] * 5], [1.0], [0.6])
    near, far = torch.eye(5)[None, 2] * 4, torch.eye(5)[None, 4] * 4
    label = torch.tensor([[1]])
    assert float(loss(near, label)) < float(loss(far, label))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="one entry a task, got 1, 1, 2 and 1"):
        MultiTaskLoss([2], [[1.0, 1.0]], [1.0, 1.0], [0.0])
    with pytest.raises(ValueError, match="weights of task 0 must have 3 entries, got 2"):
        MultiTaskLoss([3], [[1.0, 1.0]], [1.0], [0.0])

"""The detector's network and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.vertebra_detection_loss import vertebra_detection_loss
from siamed.networks.losses.vertebra_detection import VertebraDetectionLoss
from siamed.networks.vertebra_detector import VertebraDetectorNet

EMPHASIS = [20.0, 40.0, 30.0, 10.0, 20.0, 20.0, 20.0]


@pytest.fixture(scope="module")
def network() -> VertebraDetectorNet:
    torch.manual_seed(0)
    return VertebraDetectorNet(19, (8, 8, 8, 8, 8, 8)).eval()


@pytest.mark.parametrize("size", [(64, 32), (96, 128)])
def test_maps_have_the_size_of_the_slice(network: VertebraDetectorNet, size: tuple[int, int]) -> None:
    assert network(torch.rand(2, 1, *size)).shape == (2, 19, *size)


def test_slices_of_a_batch_do_not_see_each_other(network: VertebraDetectorNet) -> None:
    images = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-5, rtol=1e-4)


def test_an_untrained_network_claims_no_bodies(network: VertebraDetectorNet) -> None:
    assert network(torch.rand(1, 1, 64, 64))[:, :7].sigmoid().mean() < 0.1


def packed(generator: np.random.Generator) -> np.ndarray:
    target = generator.random((2, 25, 4, 3)).astype(np.float32)
    target[:, 15:24] = target[:, 15:24].round()
    target[:, 24] = generator.integers(0, 4, (2, 4, 3))
    return target


def test_the_loss_is_its_equation() -> None:
    generator = np.random.default_rng(3)
    output = generator.normal(size=(2, 19, 4, 3)).astype(np.float32)
    target = packed(generator)
    loss = VertebraDetectionLoss(1.0, 0.3, 0.5, EMPHASIS)(torch.from_numpy(output), torch.from_numpy(target))
    assert float(loss) == pytest.approx(
        vertebra_detection_loss(output, target, (1.0, 0.3, 0.5), EMPHASIS), rel=1e-5
    )


def test_without_any_body_the_loss_is_finite() -> None:
    target = torch.zeros(1, 25, 8, 8)
    assert torch.isfinite(VertebraDetectionLoss(1.0, 0.3, 0.3, EMPHASIS)(torch.randn(1, 19, 8, 8), target))


def test_where_the_weight_is_zero_a_heatmap_has_no_gradient() -> None:
    output = torch.randn(1, 19, 8, 8, requires_grad=True)
    VertebraDetectionLoss(1.0, 0.0, 0.0, EMPHASIS)(output, torch.zeros(1, 25, 8, 8)).backward()
    assert output.grad is not None
    assert output.grad.abs().max() == 0


def test_wrong_channel_counts_are_named() -> None:
    with pytest.raises(ValueError, match="19 and target 25 channels, got 18 and 25"):
        VertebraDetectionLoss(1.0, 0.3, 0.3, EMPHASIS)(torch.zeros(1, 18, 8, 8), torch.zeros(1, 25, 8, 8))


def test_seven_emphases_are_needed() -> None:
    with pytest.raises(ValueError, match="positive_emphasis must have one value for each of 7"):
        VertebraDetectionLoss(1.0, 0.3, 0.3, [20.0])

"""A pretraining's health: features, collapse, gradients, and an end before a bad step."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from mlflow import MlflowClient
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from torch import nn

from siamed.networks.pretext_net import PretextNet
from siamed.networks.unet import UNetEncoder
from siamed.pipeline.experiments.checkpoints import Checkpoints
from siamed.pipeline.experiments.health import (
    NAN_BATCH,
    CollapseWatch,
    GradientNorm,
    StopOnNaN,
    TrunkHealth,
)
from siamed.pipeline.tracking import TrackRun


def evaluated(metrics: dict[str, float]) -> Engine:
    engine = Engine(lambda *_: None)
    engine.state.metrics = metrics
    return engine


@pytest.mark.parametrize("name", ["embedding_spread", "feature_spread"])
@pytest.mark.parametrize(("spread", "rank", "collapsed"), [(0.06, 30.0, 0), (1e-5, 30.0, 1), (0.06, 1.0, 1)])
def test_a_collapse_is_logged_and_said(
    name: str, spread: float, rank: float, collapsed: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = evaluated({name: spread, "effective_rank": rank})
    CollapseWatch(spread=name).attach(engine)
    engine.fire_event(Events.COMPLETED)
    assert engine.state.metrics["collapsed"] == collapsed
    assert ("the encoder has collapsed after epoch" in caplog.text) == bool(collapsed)
    assert (f"{name} {spread:.2g}" in caplog.text) == bool(collapsed)


@pytest.mark.parametrize(
    ("uniformity", "limit", "collapsed"), [(-0.3, -0.05, 0), (-0.002, -0.05, 1), (-0.002, None, 0)]
)
def test_vectors_that_are_compared_must_not_lie_in_one_direction(
    uniformity: float, limit: float | None, collapsed: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = evaluated({"feature_spread": 0.02, "effective_rank": 5.0, "uniformity": uniformity})
    CollapseWatch(spread="feature_spread", most_uniformity=limit).attach(engine)
    engine.fire_event(Events.COMPLETED)
    assert engine.state.metrics["collapsed"] == collapsed
    assert ("effective rank 5, uniformity -0.002. Lower the learning rate" in caplog.text) == bool(collapsed)


def test_a_collapse_is_not_looked_for_in_what_was_not_measured() -> None:
    engine = evaluated({"feature_spread": 1.0, "effective_rank": 3.0})
    CollapseWatch(spread="feature_spread", most_uniformity=-0.05).attach(engine)
    with pytest.raises(ValueError, match=r"must have measured \['uniformity'\], it has"):
        engine.fire_event(Events.COMPLETED)
    engine = evaluated({"embedding_spread": 1.0, "effective_rank": 3.0})
    CollapseWatch(spread="feature_spread").attach(engine)
    with pytest.raises(ValueError, match=r"must have measured \['feature_spread'\], it has"):
        engine.fire_event(Events.COMPLETED)


class Levels(nn.Module):
    """A trunk of two levels, whose bottom is the image."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.full_like(image, 7.0), image]


class Encoder(nn.Module):
    """A trunk that gives one tensor, of any number of axes."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def pretext(trunk: nn.Module, members: int) -> PretextNet:
    return PretextNet(trunk, nn.Identity(), members=members)


def items(*vectors: tuple[float, float]) -> torch.Tensor:
    """One item ``(1, members * 2, 1, 2)`` whose members' features average to these vectors."""
    means = torch.tensor(vectors).flatten()
    return torch.stack([means - 1, means + 1], 1)[None, :, None]


def validate(network: nn.Module, batches: list[torch.Tensor], *handlers: Any) -> Engine:
    """An evaluator that has run once."""
    engine = Engine(lambda _, batch: network(batch))
    for handler in handlers:
        handler.attach(engine)
    engine.run(batches)
    return engine


PAIRS = [items((3.0, 0.0), (0.0, 2.0)), items((1.0, 0.0), (5.0, 0.0))]


@pytest.mark.parametrize("wrapped", [False, True], ids=["one process", "several processes"])
def test_the_trunks_vectors_are_measured_member_by_member(wrapped: bool) -> None:
    network = pretext(Levels(), 2)
    given = nn.ModuleDict({"module": network}) if wrapped else network
    metrics = validate(network, PAIRS, TrunkHealth(given, members=2)).state.metrics
    assert metrics.keys() == {"feature_spread", "effective_rank", "uniformity", "alignment"}
    # One pair is perpendicular, one lies in one direction.
    assert metrics["alignment"] == pytest.approx((2 + 0) / 2)
    # Of six pairs of the four vectors three have one direction, three are perpendicular.
    assert metrics["uniformity"] == pytest.approx(log((3 + 3 * exp(-4)) / 6))
    deviations = [np.std([3, 0, 1, 5]), np.std([0, 2, 0, 0])]
    assert metrics["feature_spread"] == pytest.approx(np.mean(deviations))
    assert 1 < metrics["effective_rank"] < 2


def test_a_trunk_may_give_one_tensor_and_an_item_may_be_one_image() -> None:
    network = nn.Sequential()
    network.add_module("trunk", Encoder())
    for batch in (torch.tensor([[2.0, 0.0], [-3.0, 0.0]]), items((2.0, 0.0)).repeat(2, 1, 1, 1)):
        batch[1] = -batch[0]
        metrics = validate(network, [batch], TrunkHealth(network)).state.metrics
        assert metrics.keys() == {"feature_spread", "effective_rank", "uniformity"}
        assert metrics["uniformity"] == pytest.approx(-8.0)
        assert metrics["feature_spread"] == pytest.approx((2 + 0) / 2)
        assert metrics["effective_rank"] == pytest.approx(1.0)


class AsksTheTrunk:
    """As a probe does: it runs the trunk at the end of a validation."""

    def __init__(self, network: PretextNet) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, lambda _: self.network.trunk(torch.ones(1, 2, 1, 1)))


def test_nothing_is_kept_from_one_validation_to_the_next() -> None:
    network = pretext(Levels(), 2)
    health = TrunkHealth(network, members=2)
    engine = validate(network, PAIRS, AsksTheTrunk(network), health)
    first = dict(engine.state.metrics)
    network(torch.full((1, 4, 1, 2), 9.0))  # a training step between two validations
    assert not network.trunk._forward_hooks
    assert health._vectors == []
    engine.run(PAIRS)
    assert engine.state.metrics == first
    engine.run([PAIRS[1]])
    assert engine.state.metrics["alignment"] == pytest.approx(0.0)


def test_a_validation_that_broke_leaves_nothing_to_the_next() -> None:
    network = pretext(Levels(), 2)
    health = TrunkHealth(network, members=2)
    with pytest.raises(ValueError, match="image must stack 2 members"):
        validate(network, [PAIRS[0], torch.ones(1, 3, 1, 1)], health)
    metrics = validate(network, [PAIRS[1]], health).state.metrics
    assert metrics["alignment"] == pytest.approx(0.0)  # not a mean with the perpendicular pair's 2
    assert not network.trunk._forward_hooks


def test_a_trunk_that_sees_no_difference_has_collapsed(caplog: pytest.LogCaptureFixture) -> None:
    trunk = UNetEncoder(2, 1, [4, 8], 4)
    with torch.no_grad():
        for name, weight in trunk.named_parameters():
            weight.fill_(0.3 if name.endswith("bias") else 0.0)
    network, watch = pretext(trunk, 2), CollapseWatch(spread="feature_spread")
    images = [torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    metrics = validate(network, images, TrunkHealth(network, members=2), watch).state.metrics
    assert metrics["feature_spread"] == 0.0
    assert metrics["effective_rank"] == 1.0
    assert metrics["alignment"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["uniformity"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["collapsed"] == 1.0
    assert "has collapsed" in caplog.text


def test_a_network_without_a_trunk_and_items_without_members_are_refused() -> None:
    with pytest.raises(ValueError, match="network must have a trunk, Linear has none"):
        TrunkHealth(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        TrunkHealth(pretext(Levels(), 1), members=0)


def test_a_validation_that_does_not_fit_is_refused() -> None:
    network = pretext(Levels(), 1)
    with pytest.raises(ValueError, match="its trunk was not asked"):
        validate(nn.Identity(), [torch.ones(1)], TrunkHealth(network))
    with pytest.raises(ValueError, match="members must divide the trunk's 3 vectors, got 2"):
        validate(network, [torch.ones(3, 2, 1, 1)], TrunkHealth(network, members=2))
    engine = evaluated({"effective_rank": 5.0})
    health = TrunkHealth(network)
    health.attach(engine)
    engine.fire_event(Events.STARTED)
    network(torch.ones(3, 2, 1, 1))
    with pytest.raises(ValueError, match=r"no metric named as the trunk's, it has \['effective_rank'\]"):
        engine.fire_event(Events.COMPLETED)


class Total(nn.Module):
    """A loss whose gradient, with a linear network, is the sum of the images; nan at one of its calls."""

    def __init__(self, nan_at: int | None = None) -> None:
        super().__init__()
        self.nan_at, self.calls = nan_at, 0

    def forward(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return pred.sum() * (float("nan") if self.calls == self.nan_at else 1.0)


def trainer(images: list[list[float]], handlers: list[Any], epochs: int = 1, **options: Any) -> Any:
    """A MONAI trainer of two weights that begin at 0, a batch an image, its rate 0.1."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    options = {"loss_function": Total(), **options}
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=[{"image": torch.tensor([image]), "label": torch.zeros(1)} for image in images],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train_handlers=handlers,
        **options,
    )


def gradient_norms(engine: Any) -> list[float | None]:
    """What a training logs, epoch by epoch."""
    seen: list[float | None] = []
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda _: seen.append(engine.state.metrics.get("gradient_norm"))
    )
    engine.run()
    return seen


def test_the_gradients_norm_is_a_mean_over_the_steps_of_an_epoch() -> None:
    images = [[3.0, 4.0], [6.0, 8.0]]
    norms = gradient_norms(trainer(images, [GradientNorm()], epochs=2))
    assert norms == pytest.approx([(5 + 10) / 2] * 2)


def test_of_accumulated_gradients_the_sum_counts_that_a_step_is_made_of() -> None:
    images = [[3.0, 4.0], [6.0, 8.0], [-0.6, 0.8]]
    norms = gradient_norms(trainer(images, [GradientNorm()], accumulation_steps=2))
    # Steps of (3 + 6, 4 + 8) / 2 and, at the end of the epoch, of (-0.6, 0.8) / 2.
    assert norms == pytest.approx([(7.5 + 0.5) / 2])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([[3.0, 4.0], [6.0, 8.0]], 7.5),
        ([[1e38, 0.0], [3.0, 4.0]], 5.0),  # times 1024 the first is infinite: no step is made
        ([[1e38, 0.0]], None),
    ],
    ids=["scaled", "one overflow", "overflows alone"],
)
def test_the_scale_of_mixed_precision_is_taken_out(
    images: list[list[float]], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: torch.amp.GradScaler("cpu", init_scale=1024.0))
    (norm,) = gradient_norms(trainer(images, [GradientNorm()], amp=True))
    assert norm == (None if expected is None else pytest.approx(expected))


def test_a_frozen_network_has_no_gradient() -> None:
    engine = trainer([[3.0, 4.0]], [GradientNorm()])
    engine.loss_function = lambda pred, label: torch.ones((), requires_grad=True)
    assert gradient_norms(engine) == [0.0]


def test_a_loss_that_is_no_number_ends_the_run_before_the_step(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    engine = trainer([[1.0, 2.0], [3.0, 4.0]], [], epochs=3, loss_function=Total(nan_at=4))
    handlers = [
        Checkpoints(tmp_path, {"network": engine.network, "optimizer": engine.optimizer}),
        GradientNorm(),
        StopOnNaN(tmp_path),
        TrackRun(tmp_path, "toy", {}, tracking_uri=store),
    ]
    for handler in handlers:
        handler.attach(engine)
    with pytest.raises(FloatingPointError, match=r"got nan in epoch 2, iteration 4; .*nan_batch\.pt.*rate"):
        engine.run()
    # Steps of 0.1 along (1, 2), (3, 4) and once more (1, 2); the fourth was not made.
    assert engine.network.weight.tolist() == [pytest.approx([-0.5, -0.8])]
    saved = torch.load(tmp_path / "latest.pt", weights_only=True)
    assert saved["training"]["epoch"] == 1
    assert saved["network"]["weight"].tolist() == [pytest.approx([-0.4, -0.6])]
    batch = torch.load(tmp_path / NAN_BATCH, weights_only=True)
    assert batch.keys() == {"image", "label", "epoch", "iteration"}
    assert batch["image"].tolist() == [[3.0, 4.0]]
    assert (batch["epoch"], batch["iteration"]) == (2, 4)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "FAILED"
    assert record["error"].startswith("FloatingPointError: the loss must be finite")
    (row,) = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    assert row["train_gradient_norm"] == pytest.approx((5**0.5 + 5) / 2)
    client = MlflowClient(store)
    assert client.get_run(record["mlflow_run_id"]).info.status == "FAILED"
    figures = {entry.path for entry in client.list_artifacts(record["mlflow_run_id"], "figures")}
    assert figures == {"figures/loss_curves.png", "figures/health.png"}


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinite_loss_ends_a_training_too(value: float, tmp_path: Path) -> None:
    engine = trainer(
        [[1.0, 2.0]], [StopOnNaN(tmp_path)], loss_function=lambda pred, label: pred.sum() + value
    )
    with pytest.raises(FloatingPointError, match=f"got {value} in epoch 1, iteration 1"):
        engine.run()
    assert engine.network.weight.tolist() == [[0.0, 0.0]]


def test_the_batch_is_kept_as_plain_tensors_of_its_own_size(tmp_path: Path) -> None:
    whole = MetaTensor(torch.arange(200_000.0).reshape(-1, 2), meta={"filename_or_obj": "somebody.nii.gz"})
    engine = trainer([[0.0, 0.0]], [StopOnNaN(tmp_path)], loss_function=Total(nan_at=1))
    engine.state.dataloader = engine.data_loader = [{"image": whole[1:2], "label": torch.ones(1)}]
    with pytest.raises(FloatingPointError, match="got nan"):
        engine.run()
    file = tmp_path / NAN_BATCH
    assert type(torch.load(file, weights_only=True)["image"]) is torch.Tensor
    assert torch.load(file, weights_only=True)["image"].tolist() == [[2.0, 3.0]]
    assert file.stat().st_size < 10_000
    assert b"somebody" not in file.read_bytes()

"""A training that was stopped goes on as if it had not been, and never loses its best."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from toy.training import make_data, stop_after, toy_workflow

from siamed.pipeline.experiments.checkpoints import Checkpoints

HANDLERS = "train#handlers"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("toy"))


def train(data: Path, output: Path, stop: int | None = None, **overrides: Any) -> None:
    """Train the toy without tracking; optionally stopped before that epoch is saved."""
    workflow = toy_workflow(data, output, **{f"{HANDLERS}#5#_disabled_": True, **overrides})
    if stop is None:
        workflow.run()
        return
    stop_after(workflow, stop, KeyboardInterrupt("stopped"))
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        workflow.run()


def latest(output: Path) -> dict[str, Any]:
    """latest.pt, with the state of the training itself beside the objects."""
    saved = torch.load(output / "latest.pt", weights_only=True)
    return {**saved.pop("training"), "objects": saved}


def equal(a: Any, b: Any) -> bool:
    """Whether two nested states are the same, bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    train(data, output)
    return output


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_training_ends_as_the_uninterrupted_one_bit_by_bit(
    workers: int, data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    if workers:
        uninterrupted = tmp_path / "whole"
        train(data, uninterrupted, num_workers=workers)
    train(data, tmp_path / "stopped", stop=4, num_workers=workers)
    assert latest(tmp_path / "stopped")["epoch"] == 3
    train(data, tmp_path / "stopped", num_workers=workers)
    assert latest(tmp_path / "stopped")["epoch"] == 6
    assert equal(latest(tmp_path / "stopped")["objects"], latest(uninterrupted)["objects"])
    for key in ("metric", "epoch", "network"):
        bests = [
            torch.load(f / "best.pt", weights_only=True)[key] for f in (tmp_path / "stopped", uninterrupted)
        ]
        assert equal(*bests)


def test_another_seed_gives_another_training(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    train(data, tmp_path, **{"hparams#seed": 2})
    assert not equal(latest(tmp_path)["objects"], latest(uninterrupted)["objects"])


def test_random_draws_differ_from_epoch_to_epoch(data: Path, tmp_path: Path) -> None:
    workflow = toy_workflow(data, tmp_path, **{f"{HANDLERS}#5#_disabled_": True, "hparams#max_epochs": 2})
    sums = []
    workflow.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: sums.append(float(engine.state.output[0]["image"].sum()))
    )
    workflow.run()
    assert len(set(sums)) == len(sums) == 8


def test_changed_hyperparameters_are_refused_on_resume_but_for_max_epochs(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    train(data, tmp_path, **{"hparams#max_epochs": 1})
    with pytest.raises(RuntimeError, match="Failed to evaluate") as caught:
        train(data, tmp_path, **{"hparams#max_epochs": 2, "hparams#learning_rate": 0.5})
    assert "learning_rate was 0.01, got 0.5" in str(caught.value.__cause__)
    train(data, tmp_path, **{"hparams#max_epochs": 2})
    assert latest(tmp_path)["epoch"] == 2


def test_starting_over_puts_the_old_checkpoints_aside(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, **{"hparams#max_epochs": 2})
    old = latest(tmp_path)
    train(data, tmp_path, resume=False, **{"hparams#max_epochs": 1})
    assert latest(tmp_path)["epoch"] == 1
    (aside,) = tmp_path.glob("before_*")
    assert equal(latest(aside), old)
    assert (aside / "best.pt").is_file()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    engine, _ = machine(tmp_path, [0.5])
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="output_dir is in use by another training"):
            engine.run([0] * 4, max_epochs=1)
    engine.run([0] * 4, max_epochs=1)


def machine(
    folder: Path, values: list[float], scaler: Any = None, better: Any = None, **options: Any
) -> tuple[Engine, Checkpoints]:
    """A trainer that adds 1 to its weight each iteration, validated after each epoch with given values."""
    network = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(network.weight)
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "dice"
    evaluator.metric_cmp_fn = better or (lambda new, best: new > best)

    def step(engine: Engine, batch: Any) -> None:
        with torch.no_grad():
            network.weight += 1

    trainer = Engine(step)
    trainer.state.epoch_length = 4
    trainer.scaler = scaler
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    handler = Checkpoints(folder, {"network": network, "optimizer": optimizer}, evaluator, **options)
    handler.attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        evaluator.state.epoch = engine.state.epoch
        evaluator.state.metrics = {"dice": values[engine.state.epoch - 1]}
        evaluator.fire_event(Events.COMPLETED)

    return trainer, handler


def best(folder: Path) -> tuple[float, int, float]:
    """Value, epoch and weight of the best checkpoint."""
    kept = torch.load(folder / "best.pt", weights_only=True)
    return kept["metric"], kept["epoch"], kept["network"]["weight"].item()


def test_a_worse_model_after_a_resume_does_not_replace_the_best(tmp_path: Path) -> None:
    machine(tmp_path, [0.5, 0.9])[0].run([0] * 4, max_epochs=2)
    assert best(tmp_path) == (0.9, 2, 8.0)
    machine(tmp_path, [0, 0, 0.8, 0.85])[0].run([0] * 4, max_epochs=4)
    assert latest(tmp_path)["objects"]["network"]["weight"].item() == 16
    assert best(tmp_path) == (0.9, 2, 8.0)
    machine(tmp_path, [0, 0, 0, 0, 0.95])[0].run([0] * 4, max_epochs=5)
    assert best(tmp_path) == (0.95, 5, 20.0)


def test_the_best_is_remembered_where_the_kill_fell_between_best_and_latest(tmp_path: Path) -> None:
    machine(tmp_path, [0.5])[0].run([0] * 4, max_epochs=1)
    first = (tmp_path / "latest.pt").read_bytes()
    machine(tmp_path, [0, 0.9])[0].run([0] * 4, max_epochs=2)
    (tmp_path / "latest.pt").write_bytes(first)  # epoch 2 was validated, its latest.pt never came
    machine(tmp_path, [0, 0.8])[0].run([0] * 4, max_epochs=2)
    assert best(tmp_path)[:2] == (0.9, 2)


def test_the_evaluators_comparison_decides_so_a_loss_may_be_minimised(tmp_path: Path) -> None:
    engine, _ = machine(tmp_path, [0.5, 0.3, 0.4], better=lambda new, old: new < old)
    engine.run([0] * 4, max_epochs=3)
    assert best(tmp_path)[:2] == (0.3, 2)


def test_what_is_not_a_number_is_never_best(tmp_path: Path) -> None:
    machine(tmp_path, [float("nan"), 0.1, float("nan")])[0].run([0] * 4, max_epochs=3)
    assert best(tmp_path)[:2] == (0.1, 2)


def test_a_training_stopped_within_an_epoch_does_the_rest_of_it(tmp_path: Path) -> None:
    engine, _ = machine(tmp_path, [0.1, 0.2], every_iterations=1)

    @engine.on(Events.ITERATION_STARTED(once=7))
    def stop(_: Engine) -> None:
        raise KeyboardInterrupt("stopped")

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        engine.run([0] * 4, max_epochs=2)
    saved = latest(tmp_path)
    assert (saved["epoch"], saved["iteration"]) == (1, 6)
    engine, _ = machine(tmp_path, [0.1, 0.2], every_iterations=1)
    engine.run([0] * 4, max_epochs=2)
    assert (engine.state.epoch, engine.state.iteration) == (2, 8)
    assert latest(tmp_path)["objects"]["network"]["weight"].item() == 8  # each iteration was done once


class Scaler:
    """Stands for the scaler of mixed precision, which exists on GPUs alone."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


def test_the_scaler_of_mixed_precision_is_resumed(tmp_path: Path) -> None:
    machine(tmp_path, [0.1], scaler=Scaler(1024.0))[0].run([0] * 4, max_epochs=1)
    fresh = Scaler(65536.0)
    machine(tmp_path, [0.1, 0.2], scaler=fresh)[0].run([0] * 4, max_epochs=2)
    assert fresh.scale == 1024.0


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"optimizer": torch.nn.Linear(1, 1)}, "objects must hold 'network'"),
        ({"network": torch.nn.Linear(1, 1), "optimizer": 3}, "'optimizer' has not"),
    ],
)
def test_objects_without_a_state_are_refused(objects: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, objects)


def test_other_objects_than_the_saved_ones_are_refused(tmp_path: Path) -> None:
    machine(tmp_path, [0.1])[0].run([0] * 4, max_epochs=1)
    engine, handler = machine(tmp_path, [0.1, 0.2])
    handler.objects["stop"] = Scaler(1.0)
    with pytest.raises(
        ValueError, match=r"objects must be those of the checkpoint \['network', 'optimizer'\]"
    ):
        engine.run([0] * 4, max_epochs=2)


def test_history_of_hparams_is_plain_data(uninterrupted: Path) -> None:
    assert json.dumps(latest(uninterrupted)["hparams"])

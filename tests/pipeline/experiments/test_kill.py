"""SIGKILL, which no process can answer: the training goes on as if nothing had been, MLflow tells of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from toy.training import TOY, make_data, toy_workflow

from siamed.pipeline.experiments.files import replace_file


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the commands started here: sums over more threads are other sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(data: Path, output: Path, cwd: Path, **overrides: Any) -> subprocess.Popen:
    """The command a user types, from a folder that has nothing to do with the bundle."""
    given = {"dataset_dir": data, "output_dir": output, "device": "cpu", **overrides}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(TOY / "configs/train.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [*command, *options], cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def epochs_done(output: Path) -> int:
    history = output / "history.json"
    return json.loads(history.read_text())[-1]["epoch"] if history.is_file() else 0


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "latest.pt", weights_only=True)["network"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_killed_outright_resumes_and_its_runs_tell_so(tmp_path: Path) -> None:
    data, killed, whole = make_data(tmp_path / "data"), tmp_path / "killed", tmp_path / "whole"
    process = start(data, killed, tmp_path)
    while epochs_done(killed) < 3:
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    uri = f"sqlite:///{killed}/mlruns.db"
    first = json.loads((killed / "run.json").read_text())
    assert first["status"] == MlflowClient(uri).get_run(first["mlflow_run_id"]).info.status == "RUNNING"

    toy_workflow(data, killed).run()
    off = {"train#handlers#5#_disabled_": True}
    toy_workflow(data, whole, **off).run()

    assert same(weights(killed), weights(whole))
    second = json.loads((killed / "run.json").read_text())
    assert [run["status"] for run in second["earlier"]] == ["KILLED"]
    old = MlflowClient(uri).get_run(first["mlflow_run_id"])
    new = MlflowClient(uri).get_run(second["mlflow_run_id"])
    assert (old.info.status, new.info.status) == ("KILLED", "FINISHED")
    assert old.info.end_time >= old.info.start_time
    assert new.data.tags["resumed_from"] == old.info.run_id
    assert 2 <= int(new.data.tags["resumed_after_epoch"]) <= 3
    steps = [m.step for m in MlflowClient(uri).get_metric_history(new.info.run_id, "train_loss")]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_killed_at_random_moments_until_it_is_done_it_is_still_the_same_training(tmp_path: Path) -> None:
    data, killed, whole = make_data(tmp_path / "data"), tmp_path / "killed", tmp_path / "whole"
    toy_workflow(data, whole, **{"train#handlers#5#_disabled_": True, "hparams#max_epochs": 16}).run()
    rng, kills = random.Random(0), 0
    for _ in range(40):
        process = start(data, killed, tmp_path, **{"hparams#max_epochs": 16})
        before = epochs_done(killed)
        while process.poll() is None and epochs_done(killed) == before:
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0, 2))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert kills >= 3
    assert epochs_done(killed) == 16
    assert same(weights(killed), weights(whole))
    runs = MlflowClient(f"sqlite:///{killed}/mlruns.db").search_runs(["1"])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] + ["KILLED"] * (len(runs) - 1)


def test_a_file_is_whole_or_the_old_one_when_writing_breaks_off(tmp_path: Path) -> None:
    target = tmp_path / "latest.pt"
    target.write_text("old")

    def break_off(beside: Path) -> None:
        beside.write_text("ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        replace_file(target, break_off)
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["latest.pt"]

"""A run in MLflow says what went in, what came out and how it ended."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from toy.training import make_data, stop_after, toy_workflow

from siamed.pipeline.bundles import load_network
from siamed.pipeline.experiments.mlflow_store import MlflowStore
from siamed.pipeline.tracking import TrackedExperiment, TrackRun


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: making a sqlite store takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/runs.db"


def tracked(uri: str, output: Path) -> Any:
    """The MLflow run that run.json of a folder names."""
    record = json.loads((output / "run.json").read_text())
    return MlflowClient(uri).get_run(record["mlflow_run_id"])


def train(data: Path, output: Path, uri: str, **overrides: Any) -> None:
    toy_workflow(data, output, tracking_uri=uri, **{"hparams#max_epochs": 2, **overrides}).run()


@pytest.fixture(scope="module")
def finished(data: Path, store_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished")
    train(data, output, store_uri, **{"hparams#learning_rate": 0.02, "parent_run": "abc"})
    return output


def test_a_finished_run_holds_hyperparameters_hashes_and_every_epoch(finished: Path, store_uri: str) -> None:
    run, client = tracked(store_uri, finished), MlflowClient(store_uri)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.02"
    assert run.data.params["dropout"] == "0.2"
    assert run.data.tags["parent_run"] == "abc"
    assert len(run.data.tags["data.split.sha256"]) == 64
    for name in ("train_loss", "val_accuracy", "val_loss", "lr"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2]


def test_a_data_file_that_may_be_missing_is_left_out(tmp_path: Path) -> None:
    handler = TrackRun(tmp_path, "toy", {}, data_files={"split": None, "manifest": "cases.json"})
    assert handler.data_files == {"manifest": "cases.json"}


def test_a_finished_run_holds_figures_configuration_and_the_trained_bundle(
    finished: Path, store_uri: str, tmp_path: Path
) -> None:
    run, client = tracked(store_uri, finished), MlflowClient(store_uri)
    figures = {entry.path for entry in client.list_artifacts(run.info.run_id, "figures")}
    assert figures >= {"figures/loss_curves.png", "figures/confusion.png", "figures/confusion_best.png"}
    assert "figures/health.png" not in figures  # nothing of it was measured
    got = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert json.loads((got / "config.json").read_text())["hparams"]["learning_rate"] == 0.02
    assert json.loads((got / "run.json").read_text())["status"] == "FINISHED"
    assert load_network(got / "bundle" / "toy_bundle").training is False


def test_run_json_is_whole_and_names_the_run(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "FINISHED"
    assert record["ended"] >= record["started"]
    assert record["seed"] == 1
    assert record["config"]["hparams"]["max_epochs"] == 2
    assert record["versions"]["monai"]
    assert record["best_metric"]["name"] == "accuracy"
    assert len(record["config_sha256"]) == 64


def test_no_data_item_is_named_in_what_is_tracked(finished: Path, store_uri: str) -> None:
    tracked_text = (finished / "run.json").read_text() + str(tracked(store_uri, finished).data)
    assert "training_00" not in tracked_text
    assert "validation_00" not in tracked_text


def test_training_again_what_is_finished_adds_no_run(finished: Path, data: Path, store_uri: str) -> None:
    before = (finished / "run.json").read_text()
    train(data, finished, store_uri, **{"hparams#learning_rate": 0.02})
    assert (finished / "run.json").read_text() == before


@pytest.mark.parametrize(
    ("error", "status"),
    [(OSError("disk"), "FAILED"), (KeyboardInterrupt("by hand"), "KILLED"), (signal.SIGTERM, "KILLED")],
    ids=["exception", "ctrl-c", "sigterm"],
)
def test_a_run_that_does_not_finish_says_so(
    error: Any, status: str, data: Path, store_uri: str, tmp_path: Path
) -> None:
    workflow = toy_workflow(data, tmp_path, tracking_uri=store_uri)
    stop_after(workflow, 1, error)
    handler_before = signal.getsignal(signal.SIGTERM)
    # MONAI wraps an exception of its expressions; what is no Exception passes through.
    with pytest.raises((RuntimeError, KeyboardInterrupt), match="Failed to evaluate|by hand|SIGTERM"):
        workflow.run()
    assert signal.getsignal(signal.SIGTERM) is handler_before
    record = json.loads((tmp_path / "run.json").read_text())
    run = tracked(store_uri, tmp_path)
    assert record["status"] == run.info.status == status
    assert type(error).__name__ in record["error"] or status == "KILLED"
    assert run.info.end_time is not None


def test_a_killed_run_is_not_joined_but_closed(data: Path, store_uri: str, tmp_path: Path) -> None:
    store = MlflowStore(store_uri, "toy_bundle")
    stale = store.start("toy_bundle_stale", {}, {})
    record = {
        "name": "toy_bundle_stale",
        "status": "RUNNING",
        "tracking_uri": store_uri,
        "mlflow_run_id": stale,
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    train(data, tmp_path, store_uri, **{"hparams#max_epochs": 1})
    closed, own = MlflowClient(store_uri).get_run(stale), tracked(store_uri, tmp_path)
    assert closed.info.status == "KILLED"
    assert own.info.run_id != stale
    assert own.info.status == "FINISHED"
    earlier = json.loads((tmp_path / "run.json").read_text())["earlier"]
    assert [(run["name"], run["status"]) for run in earlier] == [("toy_bundle_stale", "KILLED")]


def test_a_store_that_fails_midway_costs_entries_and_not_the_training(
    data: Path, store_uri: str, tmp_path: Path, monkeypatch, caplog
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("gone")

    monkeypatch.setattr(MlflowClient, "log_figure", fail)
    train(data, tmp_path, store_uri, **{"hparams#max_epochs": 1})
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "FINISHED"
    assert "the tracking store refused an entry: gone" in caplog.text


def test_a_store_that_fails_at_the_start_stops_the_training_and_the_record_says_so(
    data: Path, store_uri: str, tmp_path: Path, monkeypatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("no such store")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="Failed to evaluate"):
        patch.setattr(MlflowClient, "log_batch", fail)
        train(data, tmp_path, store_uri)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["status"], record["error"]) == ("FAILED", "MlflowException: no such store")
    train(data, tmp_path, store_uri)
    assert tracked(store_uri, tmp_path).info.status == "FINISHED"


def test_mlflow_is_told_to_report_nothing_to_its_makers(finished: Path) -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_an_evaluation_is_a_run_of_its_own(finished: Path, data: Path, store_uri: str) -> None:
    overrides = {"tracking_uri": store_uri, "ckpt_path": str(finished / "best.pt")}
    toy_workflow(data, finished, config="train+evaluate", **overrides).run()
    run = tracked(store_uri, finished / "evaluation")
    best = json.loads((finished / "run.json").read_text())["best_metric"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["kind"] == "evaluation"
    assert run.data.metrics["val_accuracy"] == best["value"]


def test_an_experiment_is_one_run_however_often_it_is_resumed(store_uri: str, tmp_path: Path) -> None:
    client, described = MlflowClient(store_uri), {"arms": {"a": {"options#x": 1}}}

    def enter() -> TrackedExperiment:
        return TrackedExperiment(tmp_path, "bundle_of_tests", "trial", store_uri, described)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), enter() as first:
        assert client.get_run(first.run_id).info.status == "RUNNING"
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert client.get_run(first.run_id).info.status == "KILLED"
    with enter() as again:
        (tmp_path / "table.md").write_text("x", encoding="utf-8")
        again.log({"score": 0.5}, [tmp_path / "table.md"])
    assert again.run_id == first.run_id
    run = client.get_run(again.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"score": 0.5}
    assert run.data.params["arms.a.options.x"] == "1"
    with pytest.raises(ValueError, match="broken"), enter():
        raise ValueError("broken")
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "FAILED"
    assert record["error"] == "ValueError: broken"
    assert [attempt["status"] for attempt in record["earlier"]] == ["KILLED", "FINISHED"]


def test_a_run_can_carry_further_tags(data: Path, store_uri: str, tmp_path: Path) -> None:
    handlers = toy_workflow(data, tmp_path).parser["train"]["handlers"]
    place = next(i for i, h in enumerate(handlers) if str(h["_target_"]).endswith("TrackRun"))
    train(
        data,
        tmp_path,
        store_uri,
        **{"hparams#max_epochs": 1, f"train#handlers#{place}#tags": {"arm": "scratch"}},
    )
    run = tracked(store_uri, tmp_path)
    assert run.data.tags["arm"] == "scratch"
    assert run.data.tags["kind"] == "training"

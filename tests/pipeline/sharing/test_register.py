"""A finished training becomes a version that MLflow loads and serves, and that says what it came from."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from monai.bundle import ConfigWorkflow
from toy.training import TOY, make_data, toy_workflow, untrained_weights

from siamed.pipeline.build_bundle import build_bundle
from siamed.pipeline.bundles import load_network
from siamed.pipeline.experiments.files import read_json, sha256_of
from siamed.pipeline.experiments.mlflow_store import MlflowStore, tracking_store
from siamed.pipeline.sharing.register import Registered, _lineage, _source_name, _weights_epoch, register_run

IMAGE = np.random.default_rng(5).random((1, 16, 16)).astype(np.float32)


def train(folder: Path, **overrides: Any) -> Path:
    """The toy's training in ``folder/out``, tracked in its own store."""
    toy_workflow(make_data(folder / "data"), folder / "out", **{"hparams#max_epochs": 2, **overrides}).run()
    return folder / "out"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that started from another one."""
    folder = tmp_path_factory.mktemp("training")
    first = folder / "somebody" / "pretraining"
    first.mkdir(parents=True)
    torch.save({"network": untrained_weights()}, first / "latest.pt")
    split = {"split": {"file": "split.json", "sha256": "b" * 64}}
    (first / "run.json").write_text(json.dumps({"name": "first_1", "commit": "c" * 40, "data": split}))
    uri = tracking_store(folder / "out")
    (folder / "out").mkdir()
    MlflowStore(uri, "pretraining").start("first_1", {}, {})
    return train(folder, pretrained=str(first))


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("working_dir")


@pytest.fixture(scope="module")
def registered(finished: Path, said: list[str], working_dir: Path) -> Registered:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working_dir)
        return register_run(finished, tell=said.append)


def test_no_store_is_made_beside_the_one_that_has_the_run(registered: Registered, working_dir: Path) -> None:
    assert list(working_dir.iterdir()) == []
    assert mlflow.active_run() is None


@pytest.fixture
def store(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """MLflow pointed at the store, for this test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.tracking_uri)
    return mlflow.MlflowClient()


@pytest.fixture
def model(store: Any, registered: Registered) -> Any:
    return mlflow.pyfunc.load_model(registered.model_uri)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(IMAGE[0] * 700, np.eye(4)), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def of_inference_run(bundle: Path, scan: Path, output: Path) -> list[float]:
    """What ``python -m monai.bundle run`` writes of one scan."""
    overrides = {"data": [{"image": str(scan)}], "output_dir": str(output), "dataset_dir": str(output)}
    workflow = ConfigWorkflow(
        str(bundle / "configs" / "inference.yaml"), logging_file=False, workflow_type="infer", **overrides
    )
    workflow.initialize()
    workflow.run()
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return [float(value) for value in next(csv.reader(file))[1:]]


def test_an_array_is_answered_by_the_network_alone(model: Any, finished: Path) -> None:
    network = load_network(finished / "bundle" / "toy_bundle")
    with torch.inference_mode():
        expected = network(torch.from_numpy(IMAGE)[None])[0].tolist()
    for given in (pd.DataFrame({"image": [IMAGE]}), {"image": IMAGE.tolist()}, [{"image": IMAGE.tolist()}]):
        (answer,) = model.predict(given)
        assert answer["output"] == pytest.approx(expected, abs=1e-6)
        assert (answer["shape"], answer["channels"]) == ([2], ["left", "right"])


def test_a_file_is_answered_as_the_inference_run_does(
    model: Any, finished: Path, scan: Path, tmp_path: Path
) -> None:
    expected = of_inference_run(finished / "bundle" / "toy_bundle", scan, tmp_path / "inference")
    first, second = model.predict(pd.DataFrame({"path": [str(scan), str(scan)]}))
    assert first["output"] == pytest.approx(expected, abs=1e-6)
    assert sum(first["output"]) == pytest.approx(1)
    assert second == first
    assert model.predict({"path": [str(scan), str(scan)]}) == [first, second]


def test_the_version_says_what_it_is_and_came_from(
    store: Any, registered: Registered, finished: Path
) -> None:
    record = json.loads((finished / "run.json").read_text())
    version = store.get_model_version("toy_bundle", "1")
    bundle = finished / "bundle" / "toy_bundle"
    weights, metadata = bundle / "models" / "model.pt", read_json(bundle / "configs" / "metadata.json")
    (pretraining,) = store.search_runs(
        [store.get_experiment_by_name("pretraining").experiment_id], "attributes.run_name = 'first_1'"
    )
    expected = {
        "bundle.version": metadata["version"],
        "weights.sha256": sha256_of(weights),
        "run_id": record["mlflow_run_id"],
        "config_sha256": record["config_sha256"],
        "data.split.sha256": record["data"]["split"]["sha256"],
        "best_metric.name": "accuracy",
        "best_metric.value": str(record["best_metric"]["value"]),
        "epoch": str(record["best_metric"]["epoch"]),
        "pretraining.run": "first_1",
        "pretraining.run_id": pretraining.info.run_id,
        "pretraining.commit": "c" * 40,
        "pretraining.data.split.sha256": "b" * 64,
        "pretraining.weights.sha256": sha256_of(finished.parent / "somebody" / "pretraining" / "latest.pt"),
    }
    assert {key: version.tags.get(key) for key in expected} == expected
    assert version.run_id == record["mlflow_run_id"]
    assert "Started from first_1." in version.description
    assert registered == Registered("toy_bundle", 1, "models:/toy_bundle/1", registered.tracking_uri, True)


def test_the_metrics_of_the_weights_epoch_are_linked_and_the_runs_curves_stay(
    store: Any, finished: Path
) -> None:
    version = store.get_model_version("toy_bundle", "1")
    logged = store.get_logged_model(version.tags["model_id"])
    history = json.loads((finished / "history.json").read_text())
    row = history[int(version.tags["epoch"]) - 1]
    assert {metric.key: metric.value for metric in logged.metrics} == pytest.approx(
        {key: value for key, value in row.items() if key != "epoch"}
    )
    assert logged.source_run_id == version.run_id
    assert [m.step for m in store.get_metric_history(version.run_id, "train_loss")] == [1, 2]


def test_signature_example_and_pinned_requirements_are_stored(model: Any, store: Any) -> None:
    columns = {column.name: column for column in model.metadata.signature.inputs}
    assert {name: column.required for name, column in columns.items()} == {"path": False, "image": False}
    (example,) = model.input_example
    assert np.shape(example["image"]) == (1, 16, 16)
    assert len(model.predict([example])) == 1
    place = Path(mlflow.artifacts.download_artifacts("models:/toy_bundle/1"))
    requirements = (place / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} >= {"siamed", "torch", "monai", "mlflow"}
    assert all("==" in line and "+" not in line for line in requirements)


def test_what_is_stored_names_no_folder_of_the_user(store: Any, finished: Path) -> None:
    version = store.get_model_version("toy_bundle", "1")
    stored = json.dumps(version.tags) + version.description
    place = Path(mlflow.artifacts.download_artifacts("models:/toy_bundle/1"))
    files = [file for file in place.iterdir() if file.is_file()]
    assert {file.name for file in files} >= {"MLmodel", "input_example.json", "requirements.txt"}
    stored += "".join(file.read_text(encoding="utf-8") for file in files)
    assert "somebody" not in stored
    assert str(finished.parent) not in stored
    assert "training_00" not in stored


def test_the_same_weights_are_registered_once(
    registered: Registered, finished: Path, said: list[str], store: Any
) -> None:
    again = register_run(finished, tell=said.append)
    assert (again.version, again.is_new) == (1, False)
    assert said[0].startswith("registered toy_bundle version 1 in sqlite:///")
    assert said[-1].startswith("these weights are registered already, toy_bundle version 1 in sqlite:///")
    assert len(store.search_model_versions("name = 'toy_bundle'")) == 1


def test_other_weights_are_the_next_version(finished: Path, store: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("mlruns*"))
    torch.save({"network": untrained_weights()}, tmp_path / "other.pt")
    build_bundle(TOY, tmp_path / "other.pt", copy / "bundle" / "toy_bundle")
    following = register_run(copy)
    assert (following.name, following.version, following.is_new) == ("toy_bundle", 2, True)
    store.delete_model_version("toy_bundle", "2")


@pytest.mark.parametrize("weights", ["best.pt", "latest.pt"])
def test_the_epoch_is_that_of_the_exported_weights(weights: str) -> None:
    tracker = {"_target_": "siamed.pipeline.tracking.TrackRun", "weights": weights}
    record = {"epochs": 9, "best_metric": {"epoch": 4}, "config": {"train": {"handlers": [tracker]}}}
    assert _weights_epoch(record) == {"best.pt": 4, "latest.pt": 9}[weights]
    assert _weights_epoch({**record, "best_metric": None}) == 9


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"status": "KILLED"}, "must hold a FINISHED training, out is KILLED"),
        ({"status": "RUNNING"}, "must hold a FINISHED training, out is RUNNING"),
        ({"kind": "evaluation"}, "must be the folder of a training"),
        ({"mlflow_run_id": None}, "out names no MLflow run"),
        ({"mlflow_run_id": "0" * 32}, "must be the store that has run 0000"),
        ({"tracking_uri": "sqlite:////nowhere/runs.db"}, "there is no runs.db any more"),
    ],
    ids=["killed", "running", "evaluation", "untracked", "unknown-run", "no-store"],
)
def test_what_is_no_finished_run_of_the_store_is_refused(
    change: dict[str, Any], match: str, finished: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("mlruns*"))
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=match):
        register_run(copy)


def test_a_run_without_a_bundle_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("mlruns*", "bundle"))
    with pytest.raises(ValueError, match="must hold one bundle, out/bundle holds 0"):
        register_run(copy)
    with pytest.raises(ValueError, match=r"must be the folder of a training, data has no run\.json"):
        register_run(finished.parent / "data")


class NoRuns:
    """A store without runs."""

    def run_named(self, name: str) -> None:
        return None


def test_the_lineage_is_what_the_training_recorded() -> None:
    source = {"bundle": "spine", "version": "0.2.0", "weights_sha256": "a" * 64, "run": "first_2"}
    source["data"] = "volumes of a release"  # as shipped metadata say it
    found = _lineage({"pretraining": source, "parent_run": "abc"}, NoRuns())
    assert found == {
        "run_id": "abc",
        "run": "first_2",
        "bundle": "spine",
        "version": "0.2.0",
        "weights.sha256": "a" * 64,
    }
    assert _source_name(found) == "spine 0.2.0"
    assert _source_name(_lineage({"parent_run": "abc"}, NoRuns())) == "run abc"
    assert _lineage({"pretraining": None, "parent_run": None}, NoRuns()) == {}


def test_mlflow_lets_neither_a_bare_array_nor_bare_paths_through(model: Any, scan: Path) -> None:
    with pytest.raises(MlflowException, match="Failed to enforce schema"):
        model.predict(IMAGE[None])
    with pytest.raises(ValueError, match="must have a column 'path' or 'image'"):
        model.predict([str(scan)])
    with pytest.raises(MlflowException, match="Expected data to be list or numpy array"):
        model.predict([{"path": str(scan)}, {"image": IMAGE.tolist()}])


def test_requests_are_parsed_and_answered_in_json(model: Any, scan: Path) -> None:
    from mlflow.pyfunc.scoring_server import invocations  # after the model's own import, which warns

    schema = model.metadata.get_input_schema()

    def post(body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = invocations(json.dumps(body), "application/json", model, schema)
        return json.loads(answer.response)["predictions"]

    of_path = post({"dataframe_records": [{"path": str(scan)}]})
    assert of_path == model.predict({"path": str(scan)})
    assert post({"instances": [{"path": str(scan)}]}) == of_path
    of_image = post({"dataframe_records": [{"image": IMAGE.tolist()}]})
    assert post({"inputs": [{"image": IMAGE.tolist()}]}) == of_image
    assert post({"dataframe_split": {"columns": ["image"], "data": [[IMAGE.tolist()]]}}) == of_image
    whole_numbers = post({"inputs": [{"image": np.ones((1, 16, 16), int).tolist()}]})
    assert whole_numbers[0]["shape"] == [2]


@pytest.fixture
def address(registered: Registered, tmp_path: Path) -> Iterator[str]:
    """Address of a server of the registered model, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["models", "serve", "--model-uri", registered.model_uri, "--env-manager", "local"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": registered.tracking_uri,
            "OMP_NUM_THREADS": "1",
            # MLflow starts uvicorn by its name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        },
        start_new_session=True,
    )
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
def test_mlflow_serves_a_version(address: str, model: Any, scan: Path) -> None:
    def post(body: dict[str, Any]) -> Any:
        header = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", json.dumps(body).encode(), header)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]

    assert post({"dataframe_records": [{"path": str(scan)}]}) == model.predict({"path": str(scan)})
    of_image = post({"dataframe_records": [{"image": IMAGE.tolist()}]})
    assert of_image[0]["output"] == pytest.approx(
        model.predict({"image": IMAGE.tolist()})[0]["output"], abs=1e-6
    )
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        post({"dataframe_records": [{"path": "gone.nii.gz"}]})
    assert "there is no 'gone.nii.gz'" in refused.value.read().decode()

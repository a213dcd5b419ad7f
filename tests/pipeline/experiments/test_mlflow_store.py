"""Which store a run goes to, and what never reaches its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamed.pipeline.experiments.mlflow_store import MlflowStore, tracking_store, without_credentials


def test_the_argument_wins_over_the_variable_and_the_variable_over_the_default(monkeypatch, tmp_path) -> None:
    assert tracking_store(tmp_path) == f"sqlite:///{tmp_path}/mlruns.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_store(tmp_path) == "http://server:5000"
    assert tracking_store(tmp_path, "sqlite:////other/runs.db") == "sqlite:////other/runs.db"


@pytest.mark.parametrize("uri", ["runs/here", "file:///runs/here"])
def test_a_folder_as_store_is_refused_with_a_way_out(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tracking_uri must be a server or database such as sqlite"):
        tracking_store(tmp_path, uri)


def test_credentials_of_a_server_stay_out_of_run_json() -> None:
    assert without_credentials("https://me:secret@server/path") == "https://server/path"


def test_artifacts_lie_beside_the_store_and_in_no_trainings_folder(tmp_path: Path, monkeypatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        store = MlflowStore(f"sqlite:///{tmp_path}/shared.db", "toy")
        run = store.client.get_run(store.start(name, {}, {}))
        assert run.info.artifact_uri.startswith((tmp_path / "mlruns").as_uri())
    monkeypatch.chdir(tmp_path)
    relative = MlflowStore("sqlite:///first/own.db", "toy")
    own = relative.client.get_experiment(relative.experiment_id)
    assert own.artifact_location == (tmp_path / "first" / "mlruns").as_uri()

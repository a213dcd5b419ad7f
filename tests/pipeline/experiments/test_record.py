"""run.json says which code, data and settings a training had."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from siamed.pipeline.experiments.record import RunRecord, config_sha256
from siamed.pipeline.experiments.seeds import EpochSeeds, epoch_seed


def begin(record: RunRecord, **data_files: Path) -> str:
    return record.start(
        "toy", kind="training", config={"a": 1}, hparams={"seed": 3}, data_files=data_files, device="cpu"
    )


def test_data_files_are_recorded_by_name_and_hash_not_by_path(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("case_id\n")
    record = RunRecord(tmp_path / "out")
    begin(record, manifest=manifest)
    content = json.loads((tmp_path / "out" / "run.json").read_text())
    expected = {"file": "manifest.csv", "sha256": hashlib.sha256(b"case_id\n").hexdigest()}
    assert content["data"] == {"manifest": expected}
    assert content["seed"] == 3


def test_a_missing_data_file_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    with pytest.raises(FileNotFoundError, match="manifest"):
        begin(record, manifest=tmp_path / "manifest.csv")
    assert not record.path.exists()


def test_names_of_runs_are_unique(tmp_path: Path) -> None:
    assert len({begin(RunRecord(tmp_path / str(i))) for i in range(20)}) == 20


def test_attempts_in_a_folder_are_listed_with_how_they_ended(tmp_path: Path) -> None:
    for status in ("FAILED", "KILLED", "FINISHED"):
        record = RunRecord(tmp_path)
        assert record.stale is None
        begin(record)
        record.end(status)
    content = json.loads(record.path.read_text())
    assert content["status"] == "FINISHED"
    assert [run["status"] for run in content["earlier"]] == ["FAILED", "KILLED"]


def test_a_record_that_never_ended_is_stale(tmp_path: Path) -> None:
    begin(RunRecord(tmp_path))
    record = RunRecord(tmp_path)
    assert record.stale is not None
    record.close_stale()
    assert record.stale is None


def test_the_hash_of_a_configuration_ignores_the_order_of_its_keys() -> None:
    assert config_sha256({"a": 1, "b": [2]}) == config_sha256({"b": [2], "a": 1})
    assert config_sha256({"a": 1}) != config_sha256({"a": 2})
    assert config_sha256(None) is None


def test_seeds_differ_by_epoch_place_within_it_and_process() -> None:
    places = [(1, 0, 0), (2, 0, 0), (1, 5, 0), (1, 0, 1)]
    assert len({epoch_seed(7, *place) for place in places} | {epoch_seed(8, 1)}) == 5
    assert epoch_seed(7, 1) == epoch_seed(7, 1)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        EpochSeeds(-1)

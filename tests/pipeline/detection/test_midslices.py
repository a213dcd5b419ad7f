"""Counting discs in mid-slices: what counts as agreement, and who reads whom."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.detection import midslices
from siamed.pipeline.detection.vertebra import Column, Disc, Vertebra
from siamed.pipeline.phantoms import write_spider_subset


def column(levels: list[str | None]) -> Column:
    corners = {0: np.zeros((4, 3))}
    bodies = tuple(Vertebra(level, 1.0, 1.0, False, corners, 0) for level in levels)
    discs = tuple(Disc(i, i + 1, None, np.zeros(3)) for i in range(len(levels) - 1))
    return Column(bodies, discs)


def test_discs_are_counted_up_to_the_graded_ones_and_only_from_s1() -> None:
    seen = column(["L2", "L3", "L4", "L5", "S1"])
    assert midslices.count_discs(seen, 7) == 4
    assert midslices.count_discs(seen, 3) == 3
    assert midslices.count_discs(column([None, None, None]), 7) is None


def test_each_patient_is_read_by_the_training_that_left_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spider_subset(tmp_path / "data", subjects=1)
    weights = bundle_path(midslices.BUNDLE) / "models" / "model.pt"
    for fold in range(5):
        (tmp_path / f"cv/fold_{fold}").mkdir(parents=True)
        shutil.copy(weights, tmp_path / f"cv/fold_{fold}/latest.pt")
    loaded: list[Path] = []
    original = midslices.detector_from_checkpoint
    monkeypatch.setattr(
        midslices,
        "detector_from_checkpoint",
        lambda path, device: loaded.append(path) or original(path, device),
    )
    read = midslices._detectors(tmp_path / "cv", "cpu")
    assert [path.parent.name for path in loaded] == [f"fold_{k}" for k in range(5)]
    assert read("5") is not read("7")  # of folds 0 and 1
    assert read("5") is read("41")
    with pytest.raises(ValueError, match="'2' is in none of its folds"):
        read("2")

    arguments = ["--dataset_dir", str(tmp_path / "data"), "--trainings", str(tmp_path / "cv")]
    assert midslices.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out/midslices.csv").read_text(encoding="utf-8").splitlines()))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["all"]["scans"] == len(rows) == 2
    assert summary["all"]["agrees"] == np.mean([row["agrees"] == "True" for row in rows])
    assert (tmp_path / "out/disagree.png").stat().st_size > 0

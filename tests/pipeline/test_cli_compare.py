"""``siamed embed`` and ``siamed compare``, with networks that know the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy.cli import names, run

from siamed.pipeline.pairs.calibration import Calibration
from siamed.pipeline.pairs.encoder import Embeddings


class KnowingEncoder:
    """Embeds bodies as numbers counted from the top, moved by a step from one scan to the next."""

    sha256 = "0" * 64
    calibration = Calibration((4.0, -4.0), (6.0, -6.0), ("T2", "T2"))

    def __init__(self, step: float) -> None:
        self.step, self.scans = step, 0

    def __call__(self, volumes: Any) -> np.ndarray:
        assert volumes.shape[1:] == (1, 9, 224, 224)
        self.scans += 1
        count = np.arange(len(volumes), dtype=np.float32)
        return np.stack([10 * count, np.full(len(volumes), self.step * self.scans)], 1).astype(np.float32)


def test_embeddings_have_a_row_a_body_and_its_name(
    loads: list, reader: Any, spine: Any, scan_file: Path, tmp_path: Path
) -> None:
    reader.encoder = KnowingEncoder(0.5)
    ran = run("embed", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path / "out") == {"result.json", "report.html", "cases.csv", "embeddings.npz"}
    found = Embeddings.load(tmp_path / "out/embeddings.npz")
    assert found.level.tolist() == list(spine.LEVELS[1:])  # the uppermost is cut by the edge
    assert found.embedding[:, 0].tolist() == [0, 10, 20, 30]
    assert found.encoder == "0" * 64
    assert loads == [("spine_mr_vertebra_detection", "spine_mr_siamese_pretraining", "auto")]
    run("detect", scan_file, "--out", tmp_path / "out")
    assert not (tmp_path / "out/embeddings.npz").exists()  # of an earlier run


def test_two_scans_are_compared_level_by_level_and_as_a_whole(
    loads: list, reader: Any, spine: Any, scan_file: Path, tmp_path: Path
) -> None:
    reader.encoder = KnowingEncoder(0.5)
    ran = run("compare", scan_file, scan_file, "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert [row["level"] for row in found["levels"]] == list(spine.LEVELS[1:])
    assert [row["distance"] for row in found["levels"]] == [0.5] * 4
    # 1 / (1 + exp(-(4 - 4 * 0.5))) and 1 / (1 + exp(-(6 - 6 * 0.5)))
    assert found["levels"][0]["probability"] == pytest.approx(0.880797, abs=1e-6)
    assert found["probability"] == pytest.approx(0.952574, abs=1e-6)
    table = run("compare", scan_file, scan_file).stdout
    assert "column     0.500        0.953" in table


def test_embeddings_that_were_written_can_be_compared(
    loads: list, reader: Any, scan_file: Path, tmp_path: Path
) -> None:
    reader.encoder = KnowingEncoder(2.0)
    run("embed", scan_file, "--out", tmp_path)
    found = json.loads(run("compare", tmp_path / "embeddings.npz", scan_file, "--json").stdout)
    assert found["distance"] == pytest.approx(2.0)
    assert found["probability"] < 0.01


def test_what_cannot_be_compared_is_said(loads: list, reader: Any, scan_file: Path, tmp_path: Path) -> None:
    reader.encoder = KnowingEncoder(0.5)
    assert run("compare", scan_file, tmp_path / "nothing.nii.gz").exit_code == 2
    (tmp_path / "other.npz").write_bytes(b"no numbers")
    assert run("compare", scan_file, tmp_path / "other.npz").exit_code == 2
    Embeddings(np.array(["L3"]), np.zeros((1, 2)), "T2", "1" * 64).save(tmp_path / "one.npz")
    ran = run("compare", scan_file, tmp_path / "one.npz")
    assert ran.exit_code == 1
    assert "must be embedded by one encoder" in ran.output
    reader.encoder.calibration = None
    ran = run("compare", scan_file, scan_file)
    assert ran.exit_code == 2
    assert "calibration.json" in ran.output

"""The manifest: what comes back from a file, and what its hash depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siamed.pipeline.datasets.manifest import Manifest, ScanRow

ROW = ScanRow("one", "p1", "T2", "one.nii.gz", family_id="twins", order="2001")


def test_scans_and_gradings_come_back_as_written(tmp_path: Path) -> None:
    scans = (ROW, ScanRow("two", "p2", "T1", "two.nii.gz", "label.nii.gz", "7"))
    manifest = Manifest(tmp_path, scans, {("p1", 1): {"pfirrmann": 3}, ("p1", 2): {"modic": 0}})
    manifest.write(tmp_path / "tables")
    again = Manifest.read(tmp_path / "tables", tmp_path)
    assert again == manifest
    assert again.sha256 == manifest.sha256


@pytest.mark.parametrize("change", [{"family_id": ""}, {"order": "2011"}, {"image": "x.nii"}, {"discs": "6"}])
def test_the_hash_knows_every_column(tmp_path: Path, change: dict[str, str]) -> None:
    one, other = (Manifest(tmp_path, (row,), {}) for row in (ROW, replace(ROW, **change)))
    assert one.sha256 != other.sha256


def test_a_case_stands_once() -> None:
    with pytest.raises(ValueError, match="'one' occurs more than once"):
        Manifest(Path(), (ROW, ROW), {})

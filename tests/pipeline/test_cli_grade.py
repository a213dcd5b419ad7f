"""Options of ``siamed grade``: hotspots, changes since an earlier scan, results as DICOM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn
from toy.cli import names, rows, run

from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.hotspots import EvidenceHotspots
from siamed.pipeline.scans.write_dicom import write_series


class Brightest(nn.Module):
    """The brighter the pixels above a threshold, the more a disc bulges."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        bright = (volume - 0.8).clamp(min=0).square().flatten(1).sum(1)
        return torch.stack([torch.ones_like(bright), bright + 2], 1)


@pytest.mark.parametrize("codes", ["PIR", "RAS"])
def test_hotspots_lie_where_the_evidence_is_in_the_patient(
    loads: list, spine: Any, reader: Any, tmp_path: Path, codes: str
) -> None:
    scan_file = spine.write_scan(tmp_path / "scan_t2.nii.gz", codes)
    # A bright spot in the disc L4-L5, on the patient's left, anterior to its middle.
    image, spot_mm = nibabel.load(scan_file), np.array([spine.CENTER_MM[0] - 5.0, 10.0, -67.0])
    data = np.asarray(image.dataobj).copy()
    where = np.indices(data.shape).reshape(3, -1)
    world = (image.affine[:3, :3] @ where + image.affine[:3, 3:]).reshape(3, *data.shape)
    data[world[1] < -20] = 40.0
    data[(np.abs(world - spot_mm[:, None, None, None]) <= [[[[1.0]]], [[[2.0]]], [[[2.0]]]]).all(0)] = 400.0
    nibabel.save(nibabel.Nifti1Image(data, image.affine), scan_file)
    reader.grader = DiscGrader(Brightest(), ["bulging"], 9, (112, 224), (56, 112))
    reader.hotspots = EvidenceHotspots(reader.grader, {"angle_deg": 5.0, "shift_x_px": 8.0}, 4)
    ran = run("grade", scan_file, "--hotspots", 4, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    found = nibabel.load(tmp_path / "out/hotspots/bulging.nii.gz")
    peak = np.unravel_index(np.asarray(found.dataobj).argmax(), found.shape)
    np.testing.assert_allclose((found.affine @ [*peak, 1])[:3], spot_mm, atol=2.5)
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Where the evidence lies" in page
    assert "strongest in its front third, at mid-height" in page
    reader.hotspots = None
    assert run("grade", scan_file, "--out", tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out/hotspots").exists()  # of an earlier run


def test_changes_since_an_earlier_grading_are_a_table_of_their_own(
    loads: list, spine: Any, scan_file: Path, tmp_path: Path
) -> None:
    assert run("grade", scan_file, "--out", tmp_path / "then").exit_code == 0
    other = spine.write_scan(tmp_path / "lumbar_again_t2.nii.gz", "RAS")
    ran = run("grade", other, "--compare", tmp_path / "then", "--out", tmp_path / "now")
    assert ran.exit_code == 0, ran.output
    changes = rows(tmp_path / "now/changes.csv")
    assert len(changes) == 4 * 2
    assert {(c["difference"], c["limit"], c["beyond_noise"]) for c in changes} == {("+0.0000", "", "no")}
    warnings = json.loads((tmp_path / "now/result.json").read_text(encoding="utf-8"))["warnings"]
    assert any("make sure that both scans are of one person" in warning for warning in warnings)
    assert run("grade", other, "--out", tmp_path / "now").exit_code == 0
    assert not (tmp_path / "now/changes.csv").exists()  # of an earlier run
    loads.clear()
    missing = run("grade", other, "--compare", tmp_path / "nowhere", "--out", tmp_path / "now")
    assert missing.exit_code == 2
    assert "must be a folder of `siamed grade`" in " ".join(missing.output.split())
    two = run("grade", other, scan_file, "--compare", tmp_path / "then", "--out", tmp_path / "both")
    assert two.exit_code == 2
    assert "goes with one scan, 2 were found" in " ".join(two.output.split())
    assert not loads  # nothing was loaded for either


def test_results_as_dicom_lie_beside_and_a_scan_of_another_format_is_a_case_of_its_own(
    loads: list, spine: Any, tmp_path: Path
) -> None:
    array, affine = spine.spine_array()
    given = tmp_path / "given"
    series = {"patient_id": "SECRET-4711", "series_description": "T2 SAG", "echo_time_ms": 100.0}
    write_series(array.transpose(1, 2, 0), affine[:, [1, 2, 0, 3]], given / "series", **series)
    spine.write_scan(given / "other_t2.nii.gz")
    ran = run("grade", given / "series", given / "other_t2.nii.gz", "--dicom", "--out", tmp_path / "out")
    assert ran.exit_code == 1
    done, failed = rows(tmp_path / "out/cases.csv")
    assert (done["status"], failed["code"]) == ("done", "not-dicom")
    assert names(tmp_path / "out" / done["case_id"]) == {
        "result.json", "grades.csv", "report.html", "dicom/grades.dcm"
    }  # fmt: skip
    assert not (tmp_path / "out" / failed["case_id"]).exists()
    assert "SECRET" not in ran.output
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.name for path in written if b"SECRET" in path.read_bytes()] == ["grades.dcm"]
    own = tmp_path / "out" / done["case_id"] / "dicom" / "0001.dcm"
    own.write_bytes(b"a scan of the user's own")
    again = run("grade", given / "series", "--out", tmp_path / "out" / done["case_id"])
    assert again.exit_code == 0, again.output
    assert list(own.parent.iterdir()) == [own]  # what an earlier run wrote is gone, nothing else
    alone = run("grade", given / "series", "--dicom", "--json")
    assert alone.exit_code == 2
    assert "needs a folder for its files" in alone.output

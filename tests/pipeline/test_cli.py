"""The commands, with networks that know the answer: files, tables, exit codes, and cases that go wrong."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import siamed
from siamed.pipeline.cli import app
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.hotspots import EvidenceHotspots
from siamed.pipeline.pairs.calibration import Calibration
from siamed.pipeline.pairs.encoder import Embeddings
from siamed.pipeline.results import SpineResult
from siamed.pipeline.scans.write_dicom import write_series
from siamed.pipeline.spine import SpineReader


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, reader: Any) -> list[tuple]:
    """Put the knowing networks behind the commands; gives what each loading asked for."""
    asked: list[tuple] = []

    def load(
        detection: str, grading: str | None, device: str, encoding: str | None = None, hotspot_views: int = 0
    ) -> Any:
        asked.append((detection, grading, device) if encoding is None else (detection, encoding, device))
        return reader

    monkeypatch.setattr(SpineReader, "from_bundles", load)
    return asked


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_one_scan_gives_its_files_in_the_folder_itself(loads: list, scan_file: Path, tmp_path: Path) -> None:
    ran = run("grade", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path / "out") == {"result.json", "grades.csv", "report.html", "cases.csv"}
    result = SpineResult.from_json((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert [v.level for v in result.vertebrae] == ["L2", "L3", "L4", "L5", "S1"]
    assert [b.name for b in result.bundles] == ["detection_of_tests", "grading_of_tests"]


def test_the_table_of_grades_says_what_the_result_says(loads: list, scan_file: Path, tmp_path: Path) -> None:
    run("grade", scan_file, "--out", tmp_path)
    table = rows(tmp_path / "grades.csv")
    assert [row["level"] for row in table] == ["L2-L3", "L3-L4", "L4-L5", "L5-S1"]
    assert [row["pfirrmann"] for row in table] == ["2", "3", "4", "5"]
    assert [row["herniation"] for row in table] == ["0", "1", "0", "1"]
    assert [row["pfirrmann_probability"] for row in table] == ["0.4000", "0.8000", "0.8000", "0.8000"]
    assert [row["refer"] for row in table] == ["pfirrmann", "", "", ""]
    assert [row["pfirrmann_likely"] for row in table] == ["1 2 3", "3", "4", "5"]
    assert [row["herniation_likely"] for row in table] == ["", "", "", ""]  # it was never calibrated


def test_the_same_scan_gives_the_same_bytes(loads: list, scan_file: Path, tmp_path: Path) -> None:
    run("grade", scan_file, "--out", tmp_path / "a")
    run("grade", scan_file, "--out", tmp_path / "b")
    for name in ("result.json", "grades.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


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
    own = tmp_path / "out" / done["case_id"] / "dicom" / "0001.dcm"
    own.write_bytes(b"a scan of the user's own")
    again = run("grade", given / "series", "--out", tmp_path / "out" / done["case_id"])
    assert again.exit_code == 0, again.output
    assert list(own.parent.iterdir()) == [own]  # what an earlier run wrote is gone, nothing else
    alone = run("grade", given / "series", "--dicom", "--json")
    assert alone.exit_code == 2
    assert "needs a folder for its files" in alone.output


def test_detection_grades_nothing_and_loads_no_grader(loads: list, scan_file: Path, tmp_path: Path) -> None:
    ran = run("detect", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path / "out") == {"result.json", "report.html", "cases.csv"}
    assert loads == [("spine_mr_vertebra_detection", None, "auto")]


def test_extraction_writes_volumes_that_lie_in_the_patient(
    loads: list, spine: Any, scan_file: Path, tmp_path: Path
) -> None:
    ran = run("extract", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    table = rows(tmp_path / "out/volumes.csv")
    assert [(row["kind"], row["level"]) for row in table] == [
        *(("vb", level) for level in spine.LEVELS[1:]),
        *(("ivd", level) for level in spine.DISCS),
    ]
    result = SpineResult.from_json((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    where = {item.level: item.center_mm for item in (*result.vertebrae, *result.discs)}
    for row in table:
        path = tmp_path / "out" / row["path"]
        assert sha256(path.read_bytes()).hexdigest() == row["sha256"]
        assert (row["scan_id"], row["subject_id"]) == (result.scan.scan_id, result.scan.subject_id)
        image = nibabel.load(path)
        assert image.shape == ((9, 224, 224) if row["kind"] == "vb" else (9, 112, 224))
        assert image.header.get_xyzt_units()[0] == "mm"
        center = image.affine @ [*((np.array(image.shape) - 1) / 2), 1.0]
        np.testing.assert_allclose(center[:3], where[row["level"]], atol=0.02)


def test_a_disc_between_bodies_that_are_cut_is_extracted_all_the_same(
    loads: list, spine: Any, reader: Any, scan_file: Path, tmp_path: Path
) -> None:
    class AllCut(spine.KnowingDetector):
        def __call__(self, view: Any) -> Any:
            column = super().__call__(view)
            return replace(column, vertebrae=tuple(replace(v, partial=True) for v in column.vertebrae))

    reader.detector = AllCut(("L5", "S1"))
    ran = run("extract", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert [(row["kind"], row["level"]) for row in rows(tmp_path / "out/volumes.csv")] == [("ivd", "L5-S1")]


def test_several_scans_get_a_folder_each_and_one_loading(
    loads: list, spine: Any, reader: Any, tmp_path: Path
) -> None:
    study = tmp_path / "scans"
    study.mkdir()
    for name in ("a_t2.nii.gz", "b_t2.nii.gz"):
        spine.write_scan(study / name)
    ran = run("grade", study, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    files = {"result.json", "grades.csv", "report.html"}
    each = {f"{case}/{name}" for case in ("a_t2", "b_t2") for name in files}
    assert names(tmp_path / "out") == {"cases.csv", "index.html", *each}
    assert len(loads) == 1
    assert reader.detector.calls == 2
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert 'href="a_t2/report.html"' in page
    assert 'href="b_t2/report.html"' in page


def broken_folder(spine: Any, folder: Path) -> Path:
    folder.mkdir()
    spine.write_scan(folder / "good_t2.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"not a scan")
    spine.write_scan(folder / "last_t2.nii.gz")
    return folder


def test_a_bad_case_ends_as_a_row_and_the_others_are_done(loads: list, spine: Any, tmp_path: Path) -> None:
    ran = run("grade", broken_folder(spine, tmp_path / "scans"), "--out", tmp_path / "out")
    assert ran.exit_code == 1
    table = {row["case_id"]: row for row in rows(tmp_path / "out/cases.csv")}
    assert {case: row["status"] for case, row in table.items()} == {
        "broken": "failed",
        "good_t2": "done",
        "last_t2": "done",
    }
    assert all(table["broken"][column] for column in ("path", "code", "reason", "what_to_do"))
    assert table["good_t2"]["code"] == table["good_t2"]["reason"] == ""
    assert not (tmp_path / "out/broken").exists()
    assert (tmp_path / "out/last_t2/report.html").is_file()
    assert table["broken"]["reason"] in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "Traceback" not in ran.output


def test_an_error_inside_a_network_ends_as_a_row_too(
    loads: list, reader: Any, scan_file: Path, tmp_path: Path
) -> None:
    def burst(volumes: Any) -> Any:
        raise RuntimeError("out of memory")

    reader.grader = burst
    ran = run("grade", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    (row,) = rows(tmp_path / "out/cases.csv")
    assert (row["status"], row["code"]) == ("failed", "internal-error")
    assert row["reason"] == "RuntimeError: out of memory"
    assert "Traceback" not in ran.output


def test_a_result_that_breaks_the_schema_is_not_delivered(
    loads: list, reader: Any, scan_file: Path, tmp_path: Path
) -> None:
    def sloppy(volumes: Any) -> Any:
        return [{"pfirrmann": {"grade": 3, "probabilities": {"3": 0.4, "4": 0.4}, "expected": 3.0}}] * len(
            volumes
        )

    reader.grader = sloppy
    assert run("grade", scan_file, "--out", tmp_path / "out").exit_code == 1
    assert names(tmp_path / "out") == {"cases.csv"}
    assert "must sum to 1" in rows(tmp_path / "out/cases.csv")[0]["reason"]


def test_a_failed_case_shows_no_files_of_an_earlier_run(
    loads: list, spine: Any, reader: Any, scan_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run("extract", scan_file, "--out", out)
    (out / "my notes.txt").write_text("keep", encoding="utf-8")
    reader.detector = spine.EmptyDetector()
    assert run("extract", scan_file, "--out", out).exit_code == 1
    assert names(out) == {"cases.csv", "my notes.txt"}


def test_a_detection_after_a_grading_leaves_no_grades_behind(
    loads: list, scan_file: Path, tmp_path: Path
) -> None:
    run("grade", scan_file, "--out", tmp_path / "out")
    run("detect", scan_file, "--out", tmp_path / "out")
    assert names(tmp_path / "out") == {"result.json", "report.html", "cases.csv"}


def test_an_interrupted_batch_leaves_a_table_of_what_was_done(
    loads: list, spine: Any, reader: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a_t2.nii.gz", "b_t2.nii.gz"):
        spine.write_scan(folder / name)
    knowing = reader.detector

    def impatient(view: Any) -> Any:
        if knowing.calls:
            raise KeyboardInterrupt
        return knowing(view)

    reader.detector = impatient
    ran = run("detect", folder, "--out", tmp_path / "out")
    assert ran.exit_code not in (0, 2)
    assert [(row["case_id"], row["status"]) for row in rows(tmp_path / "out/cases.csv")] == [("a_t2", "done")]


def test_a_path_that_does_not_exist_is_a_row_and_the_others_are_done(
    loads: list, scan_file: Path, tmp_path: Path
) -> None:
    ran = run("detect", tmp_path / "absent.nii.gz", scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert [(row["status"], row["code"]) for row in rows(tmp_path / "out/cases.csv")] == [
        ("failed", "path-not-found"),
        ("done", ""),
    ]


def test_scans_of_one_name_get_folders_of_their_own(
    loads: list, spine: Any, scan_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = shutil.copy(scan_file, tmp_path / "other" / scan_file.name)
    ran = run("detect", scan_file, twin, scan_file, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert [row["case_id"] for row in rows(tmp_path / "out/cases.csv")] == ["lumbar_t2", "lumbar_t2-2"]


def test_json_goes_to_the_output_a_line_a_case_and_nothing_else(
    loads: list, spine: Any, tmp_path: Path
) -> None:
    ran = run("grade", broken_folder(spine, tmp_path / "scans"), "--json")
    assert ran.exit_code == 1
    lines = {line["case_id"]: line for line in map(json.loads, ran.stdout.splitlines())}
    assert set(lines) == {"broken", "good_t2", "last_t2"}
    assert lines["broken"]["status"] == "failed"
    assert set(lines["broken"]["failure"]) == {"code", "reason", "what_to_do"}
    assert SpineResult.from_dict(lines["good_t2"]["result"]).discs[0].grades["pfirrmann"].grade == 2


def test_quiet_says_nothing_when_all_is_well(loads: list, scan_file: Path, tmp_path: Path) -> None:
    ran = run("grade", scan_file, "--out", tmp_path / "out", "--quiet")
    assert (ran.exit_code, ran.output) == (0, "")


def test_options_reach_the_networks_and_the_reader(loads: list, scan_file: Path, tmp_path: Path) -> None:
    words = ("--device", "cpu", "--detection-bundle", "mine", "--grading-bundle", "yours")
    run("grade", scan_file, "--out", tmp_path / "out", *words)
    assert loads == [("mine", "yours", "cpu")]


@pytest.mark.parametrize(
    "words",
    [
        ("grade", "scan.nii.gz"),
        ("grade", "--out", "out"),
        ("grade", "scan.nii.gz", "--out", "out", "--colour"),
        ("fly",),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_file_in_the_place_of_the_output_folder_is_wrong_usage(loads: list, scan_file: Path) -> None:
    ran = run("grade", scan_file, "--out", scan_file)
    assert ran.exit_code == 2
    assert "must be a folder" in ran.output


def test_a_bundle_that_does_not_exist_is_wrong_usage(scan_file: Path, tmp_path: Path) -> None:
    ran = run("detect", scan_file, "--out", tmp_path / "out", "--detection-bundle", "no_such_bundle")
    assert ran.exit_code == 2
    assert "no_such_bundle" in ran.output


def test_the_version_is_that_of_the_package() -> None:
    ran = run("--version")
    assert (ran.exit_code, ran.output.strip()) == (0, f"siamed {siamed.__version__}")


def test_no_written_file_names_the_patient(loads: list, spine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "Doe^Jane"
    folder.mkdir()
    spine.write_scan(folder / "lumbar_t2.nii.gz")
    run("grade", folder, "--out", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.name != "cases.csv":  # the one file that says where each case lies
            assert "Doe" not in path.read_text(encoding="utf-8"), path.name


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


def test_a_label_efficiency_experiment_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\n", encoding="utf-8")
    ran = run("label-efficiency", tmp_path / "x.yaml", "--out", tmp_path / "out")
    assert ran.exit_code == 2
    assert "lacks" in ran.output
    ran = run("label-efficiency", tmp_path / "x.yaml", "seeds", "--out", tmp_path / "out")
    assert ran.exit_code == 2
    assert "KEY=VALUE" in ran.output
    assert not (tmp_path / "out").exists()


def test_a_cohort_is_written_where_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple] = []

    def write(folder: Path, subjects: int, seed: int) -> Path:
        asked.append((folder, subjects, seed))
        return folder

    monkeypatch.setattr("siamed.pipeline.phantoms.cohort.write_cohort", write)
    ran = run("phantom-cohort", "--out", tmp_path, "--subjects", 12, "--seed", 3)
    assert ran.exit_code == 0, ran.output
    assert asked == [(tmp_path, 12, 3)]

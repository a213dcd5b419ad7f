"""The commands, with networks that know the answer: files, tables, exit codes, and cases that go wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from toy.cli import names, rows, run

import siamed
from siamed.pipeline.results import SpineResult


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

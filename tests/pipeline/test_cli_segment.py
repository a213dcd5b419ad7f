"""``siamed segment``, with a network that knows the answer: files, sides, DICOM, and cases that go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from toy.cli import names, rows, run
from toy.kidney_ct import LEFT_ML, RIGHT_ML, Oracle, kidney_ct, kidney_mr

from siamed.pipeline.cli import batch, options
from siamed.pipeline.kidneys import reader
from siamed.pipeline.kidneys.result import KidneyResult
from siamed.pipeline.scans.write_dicom import write_series
from siamed.pipeline.segmentation import inference


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "Segmenter", Oracle)


def nifti(path: Path, codes: str = "RAS", **which: bool) -> Path:
    image, affine, _ = kidney_ct(codes, **which)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


def series(folder: Path, **header: Any) -> Path:
    image, affine, _ = kidney_ct("LPS")
    given = {"patient_id": "P-1", "patient_name": "Doe^Jane", "modality": "CT", **header}
    write_series(image, affine, folder, rescale_intercept=-1024.0, **given)
    return folder


def labels(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.load(folder / "kidneys.nii.gz")
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "IPL", "SAR"])
def test_both_kidneys_lie_where_they_are_in_the_patient_whatever_the_axes(codes: str, tmp_path: Path) -> None:
    ran = run("segment", nifti(tmp_path / "scan.nii.gz", codes), "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path / "out") == {
        "result.json",
        "kidneys.nii.gz",
        "volumes.csv",
        "report.html",
        "cases.csv",
    }
    _, affine, truth = kidney_ct(codes)
    found, own = labels(tmp_path / "out")
    assert np.array_equal(found, truth)
    np.testing.assert_allclose(own, affine)
    result = KidneyResult.from_json((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert result.outcome == "two_kidneys"
    assert result.scan.modality == "CT"
    assert "taken for CT: air has Hounsfield units" in result.scan.notes
    assert [(s.name, s.label) for s in result.structures] == [("right kidney", 1), ("left kidney", 2)]
    assert [s.volume_ml for s in result.structures] == pytest.approx([RIGHT_ML, LEFT_ML], abs=0.01)
    # Middles of the blocks: voxels 64.5, 26.5, 13.5 and 29.5, 26.5, 21.5 in RAS.
    assert result.structures[0].center_mm == pytest.approx((53.5, -10.5, 767.5))
    assert result.structures[1].center_mm == pytest.approx((-51.5, -10.5, 807.5))
    assert [b.name for b in result.bundles] == ["kidney_ct_segmentation"]


def test_a_mirrored_scan_has_the_sides_swapped(tmp_path: Path) -> None:
    image, affine, truth = kidney_ct()
    nibabel.save(nibabel.Nifti1Image(image, affine @ np.diag([-1.0, 1, 1, 1])), tmp_path / "scan.nii.gz")
    run("segment", tmp_path / "scan.nii.gz", "--out", tmp_path / "out")
    found, _ = labels(tmp_path / "out")
    assert np.array_equal(found == 2, truth == 1)
    assert np.array_equal(found == 1, truth == 2)


def test_a_single_kidney_and_one_at_the_end_of_the_scan_are_said(tmp_path: Path) -> None:
    image, affine, _ = kidney_ct(right=False)
    nibabel.save(nibabel.Nifti1Image(image[:, :, 18:], affine), tmp_path / "scan.nii.gz")
    run("segment", tmp_path / "scan.nii.gz", "--out", tmp_path / "out")
    result = KidneyResult.from_json((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert result.outcome == "one_kidney"
    assert result.structures[0].touches_edge
    said = " ".join(result.warnings)
    assert "Only the left kidney was found." in said
    assert "The left kidney reaches the end of the scan" in said
    table = rows(tmp_path / "out/volumes.csv")
    assert [(row["structure"], row["touches_edge"]) for row in table] == [("left kidney", "yes")]


def test_scatter_on_the_other_side_makes_no_second_kidney(tmp_path: Path) -> None:
    image, affine, _ = kidney_ct(left=False)
    image[30:34, 20:24, 14:17] = 150.0  # 48 voxels, 2 ml
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    found = []
    for words in ([], ["--all-components"]):
        ran = run("segment", tmp_path / "scan.nii.gz", "--out", tmp_path / "out", *words)
        assert ran.exit_code == 0, ran.output
        result = KidneyResult.from_json((tmp_path / "out/result.json").read_text(encoding="utf-8"))
        assert result.outcome == "one_kidney"
        assert "Only the right kidney was found." in result.warnings
        found.append({one.name: one.volume_ml for one in result.structures})
    assert found[0] == {"right kidney": pytest.approx(RIGHT_ML, abs=0.01)}
    assert found[1] == {**found[0], "left kidney": pytest.approx(48 * 45 / 1000, abs=0.01)}


def test_of_a_study_the_axial_ct_is_taken_and_dicom_written_beside_it(tmp_path: Path) -> None:
    study = {"study_uid": "1.2.3.4", "series_description": "abdomen"}
    files = series(tmp_path / "study" / "a", series_number=4, **study)
    # What the spine's commands would take: a sagittal MR, of thick slices.
    image, affine, _ = kidney_ct("PIL")
    image, affine = image[:, :, ::3] + 1000, affine @ np.diag([1.0, 1, 3, 1])
    given = {"patient_id": "P-1", "patient_name": "Doe^Jane", "study_uid": "1.2.3.4"}
    write_series(image, affine, tmp_path / "study" / "b", series_number=5, echo_time_ms=90.0, **given)
    series(
        tmp_path / "study" / "c", series_number=9, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), **study
    )
    ran = run("segment", tmp_path / "study", "--out", tmp_path / "out", "--dicom")
    assert ran.exit_code == 0, ran.output
    _, _, truth = kidney_ct("LPS")
    found = hd.seg.segread(tmp_path / "out/dicom/kidneys.dcm")
    said = [found.get_segment_description(n) for n in found.segment_numbers]
    assert [d.segment_label for d in said] == ["right kidney", "left kidney"]
    assert [d.segmented_property_type.value for d in said] == ["9846003", "18639004"]
    assert (found.PatientID, str(found.PatientName)) == ("P-1", "Doe^Jane")
    source = pydicom.dcmread(next(files.iterdir()))
    assert found.StudyInstanceUID == source.StudyInstanceUID
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in sorted(files.iterdir())]
    order = {
        pydicom.dcmread(p).SOPInstanceUID: pydicom.dcmread(p).ImagePositionPatient[2] for p in files.iterdir()
    }
    uids = sorted(uids, key=lambda uid: order[uid])
    masks = found.get_pixels_by_source_instance(
        source_sop_instance_uids=uids, assert_missing_frames_are_empty=True, segment_numbers=[1, 2]
    )
    assert masks.shape == (36, 64, 90, 2)
    for number in (1, 2):
        assert np.array_equal(masks[..., number - 1].astype(bool), (truth == number).transpose(2, 1, 0))


def test_a_second_run_takes_what_the_first_wrote_for_no_scan(tmp_path: Path) -> None:
    nifti(tmp_path / "one.nii.gz")
    series(tmp_path / "two")
    cases = []
    for _ in range(2):
        ran = run("segment", tmp_path, "--out", tmp_path / "out", "--dicom")
        cases.append([row["case_id"] for row in rows(tmp_path / "out/cases.csv")])
        assert ran.exit_code == 1  # a NIfTI file has no DICOM series to belong to
    run("segment", tmp_path, "--out", tmp_path / "out")
    cases.append([row["case_id"] for row in rows(tmp_path / "out/cases.csv")])
    assert cases[0] == cases[1] == cases[2]
    assert len(cases[0]) == 2


def test_what_an_earlier_run_left_goes_when_this_one_does_not_write_it(tmp_path: Path) -> None:
    series(tmp_path / "study")
    run("segment", tmp_path / "study", "--out", tmp_path / "out", "--dicom")
    (tmp_path / "out" / "mine.txt").write_text("kept", encoding="utf-8")
    run("segment", tmp_path / "study", "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "dicom").exists()
    assert (tmp_path / "out" / "mine.txt").is_file()


def test_a_batch_goes_on_and_its_page_says_how_each_case_ended(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    nifti(scans / "good.nii.gz")
    nifti(scans / "bare.nii.gz", right=False, left=False)
    image, affine, _ = kidney_ct()
    nibabel.save(nibabel.Nifti1Image(image.clip(-80, 300), affine), scans / "windowed.nii.gz")
    for path in series(scans / "not_me").iterdir():
        file = pydicom.dcmread(path)
        file.Modality = "PT"
        file.save_as(path)
    ran = run("segment", scans, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    table = {row["case_id"]: row for row in rows(tmp_path / "out/cases.csv")}
    assert {name: row["code"] for name, row in table.items() if not name.startswith("study")} == {
        "bare": "no-kidneys",
        "good": "",
        "windowed": "unknown-modality",
    }
    assert [row["code"] for name, row in table.items() if name.startswith("study")] == ["no-bundle"]
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "kidney reports" in page
    assert "1 of 4 cases done" in page
    assert f"<td>{RIGHT_ML:.0f}</td><td>{LEFT_ML:.0f}</td>" in page


def test_no_file_names_the_patient_but_the_dicom_object(tmp_path: Path) -> None:
    series(tmp_path / "study")
    run("segment", tmp_path / "study", "--out", tmp_path / "out", "--dicom")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".dcm" and path.name != "cases.csv":
            content = path.read_bytes()
            assert b"Doe" not in content, path.name
            assert b"P-1" not in content, path.name


def test_one_line_of_json_a_case(tmp_path: Path) -> None:
    ran = run("segment", nifti(tmp_path / "scan.nii.gz"), "--json", "--quiet")
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["status"] == "done"
    assert said["result"]["schema"] == "siamed/segmentation/1"


def test_the_bar_moves_within_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []

    @contextmanager
    def progress(console: Any) -> Iterator[Any]:
        yield lambda what, done, total: shown.append(done)

    class HalfWay(Oracle):
        @classmethod
        def from_bundle(cls, bundle: Any, device: Any, tell: Any) -> Oracle:
            made = cls()
            made.tell = tell
            return made

        def __call__(self, image: Any) -> np.ndarray:
            self.tell(0.5)
            return super().__call__(image)

    monkeypatch.setattr(batch, "progress", progress)
    monkeypatch.setattr(inference, "Segmenter", HalfWay)
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a", "b"):
        nifti(scans / f"{name}.nii.gz")
    assert run("segment", scans, "--out", tmp_path / "out").exit_code == 0
    assert shown[-4:] == [0, 0.5, 1, 1.5]


def used(out: Path) -> KidneyResult:
    return KidneyResult.from_json((out / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("dicom", [True, False], ids=["dicom", "nifti"])
def test_the_scan_chooses_its_bundle(modality: str, dicom: bool, tmp_path: Path) -> None:
    image, affine, truth = kidney_ct("LPS") if modality == "CT" else kidney_mr("LPS")
    scan = tmp_path / "scan.nii.gz"
    if dicom:
        scan, intercept = tmp_path / "study", -1024.0 if modality == "CT" else 0.0
        write_series(image, affine, scan, patient_id="P-1", modality=modality, rescale_intercept=intercept)
    else:
        nibabel.save(nibabel.Nifti1Image(image, affine), scan)
    ran = run("segment", scan, "--out", tmp_path / "out", "--organ", "kidneys")
    assert ran.exit_code == 0, ran.output
    result = used(tmp_path / "out")
    assert [bundle.name for bundle in result.bundles] == [reader.BUNDLES[modality]]
    assert result.scan.modality == modality
    assert any(note.startswith(f"taken for {modality}") for note in result.scan.notes) is not dicom
    assert np.array_equal(labels(tmp_path / "out")[0], truth)
    assert reader.BUNDLES[modality] in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_a_file_whose_values_do_not_tell_is_what_the_user_says(tmp_path: Path) -> None:
    image, affine, _ = kidney_ct()
    scan = tmp_path / "windowed.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.clip(-80, 300), affine), scan)
    ran = run("segment", scan, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "does not say whether it is CT or MR" in " ".join(ran.output.split())
    assert "--modality CT or --modality MR" in " ".join(ran.output.split())
    for word in ("ct", "MR"):
        ran = run("segment", scan, "--out", tmp_path / word, "--modality", word)
        assert ran.exit_code == 0, ran.output
        result = used(tmp_path / word)
        assert [bundle.name for bundle in result.bundles] == [reader.BUNDLES[word.upper()]]
        assert f"taken for {word.upper()}: so it was said" in result.scan.notes


def test_what_dicom_says_is_not_overruled(tmp_path: Path) -> None:
    ran = run("segment", series(tmp_path / "study"), "--out", tmp_path / "out", "--modality", "MR")
    assert ran.exit_code == 0, ran.output
    result = used(tmp_path / "out")
    assert (result.scan.modality, result.bundles[0].name) == ("CT", "kidney_ct_segmentation")


def test_a_file_without_kidneys_says_what_it_was_taken_for(tmp_path: Path) -> None:
    image, affine, _ = kidney_mr(right=False, left=False)
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    ran = run("segment", tmp_path / "scan.nii.gz", "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "It was taken for MR; --modality says what it is." in " ".join(ran.output.split())


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    scan = nifti(tmp_path / "scan.nii.gz")
    assert run("segment", scan).exit_code == 2
    assert run("segment", scan, "--json", "--dicom").exit_code == 2
    assert run("segment", scan, "--json", "--ct-bundle", "no_such_bundle").exit_code == 2
    assert run("segment", scan, "--json", "--organ", "liver").exit_code == 2
    assert run("segment", scan, "--json", "--mr-bundle", "no_such_bundle").exit_code == 2
    assert run("segment", scan, "--json", "--modality", "PT").exit_code == 2
    assert {"CT": options.CT_KIDNEY_BUNDLE, "MR": options.MR_KIDNEY_BUNDLE} == reader.BUNDLES

"""DICOM studies and image files into NIfTI: every sound volume once, nobody named, nothing written twice."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from siamed.pipeline.datasets.import_scans import SKIPPED, import_scans, main
from siamed.pipeline.datasets.unlabelled import unlabelled_items
from siamed.pipeline.scans import read_scan
from siamed.pipeline.scans.write_dicom import write_series

SHAPE = (9, 11, 8)
# Slices to the right, the order in which the reader counts them.
AFFINE = np.array([[0, 0, 4, -12.0], [-0.5, 0, 0, 30], [0, -0.6, 0, 40], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).permutation(9 * 11 * 8).reshape(SHAPE)


def write(folder: Path, patient: str, number: int, array: np.ndarray = VOXELS, **words: Any) -> list[Path]:
    words = {"study_uid": f"1.2.{patient}", "series_number": number, **words}
    return write_series(
        array, AFFINE, folder, patient_id=f"SECRET{patient}", patient_name="Doe^Jane", **words
    )


def archive(root: Path) -> Path:
    """Two patients: two series and a localizer, a scout and a series with a gap; a file and its label map."""
    write(root / "Doe_Jane" / "t1", "1", 1, series_uid="1.2.1.1")
    write(root / "Doe_Jane" / "t2", "1", 2, VOXELS + 1, series_uid="1.2.1.2")
    write(root / "Doe_Jane" / "loc", "1", 3, series_description="localizer")
    write(root / "2" / "scout", "2", 1, VOXELS[:, :, :3])
    write(root / "2" / "gap", "2", 2)[4].unlink()
    nibabel.save(nibabel.Nifti1Image((VOXELS + 0.5).astype(np.float32), AFFINE), root / "anna_t2.nii.gz")
    nibabel.save(nibabel.Nifti1Image(VOXELS.astype(np.uint8), AFFINE), root / "anna_t2_label.nii.gz")
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_sound_series_and_file_becomes_a_volume_on_its_grid(tmp_path: Path) -> None:
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    outcomes = import_scans(source, out)
    done = [one.reading for one in outcomes if one.reading is not None]
    assert len(done) == 3 and all(one.written for one in done)
    for place, array in (
        ("Doe_Jane/t1", VOXELS),
        ("Doe_Jane/t2", VOXELS + 1),
        ("anna_t2.nii.gz", VOXELS + 0.5),
    ):
        scan = read_scan(source / place)
        image = nibabel.load(out / f"{scan.scan_id}_image.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), array)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
        assert image.get_data_dtype() == (np.float32 if place.startswith("anna") else np.int16)
    codes = sorted(one.failure.code for one in outcomes if one.failure is not None)
    assert codes == ["few-slices", "localizer", "missing-slices"]
    statuses = [row["status"] for row in table(out / "cases.csv")]
    assert sorted(statuses) == ["done", "done", "done", "failed", "skipped", "skipped"]
    (few,) = (row for row in table(out / "cases.csv") if row["code"] == "few-slices")
    assert few["reason"] == "the volume has 9 x 11 x 3 voxels, fewer than 8 along an axis"
    assert Path(few["path"]) == source / "2" / "scout"


def test_nobody_is_named_and_series_of_a_person_share_a_subject(tmp_path: Path) -> None:
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    import_scans(source, out)
    people = {row["case_id"]: row["subject_id"] for row in table(out / "subjects.csv")}
    ids = [read_scan(source / "Doe_Jane" / name).scan_id for name in ("t1", "t2")]
    assert len({people[i] for i in ids}) == 1 and len(set(people.values())) == 2
    for path in out.iterdir():
        if path.name == "cases.csv":  # the key back to the archive
            continue
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            assert re.fullmatch(r"scan-[0-9a-f]{16}_image\.nii\.gz", path.name)
            content = gzip.decompress(content) + content
        for word in (b"SECRET", b"Doe", b"Jane", b"anna"):
            assert word not in content and word.decode() not in path.name
    items = unlabelled_items(out, None, None, "training") + unlabelled_items(out, None, None, "validation")
    assert {(item["case_id"], item["subject_id"]) for item in items} == set(people.items())


def test_what_is_there_is_not_written_again_and_more_can_be_added(tmp_path: Path) -> None:
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    import_scans(source, out)
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    subjects = table(out / "subjects.csv")
    write(tmp_path / "more" / "x", "3", 1, VOXELS + 2)
    for more in (source, tmp_path / "more"):
        outcomes = import_scans(more, out)
    assert [one.reading.written for one in outcomes] == [True]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert table(out / "subjects.csv")[: len(subjects)] == subjects
    assert len(table(out / "subjects.csv")) == 4
    again = [one.reading.written for one in import_scans(source, out) if one.reading is not None]
    assert again == [False] * 3


def test_a_volume_without_its_subject_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path / "in", "1", 1)
    (first,) = import_scans(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "subjects.csv").unlink()
    (second,) = import_scans(tmp_path / "in", tmp_path / "out")
    assert second.reading == first.reading
    assert len(table(tmp_path / "out" / "subjects.csv")) == 1


def test_a_copy_is_passed_over(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.astype(np.int16), AFFINE)
    for name in ("a.nii.gz", "b/copy.nii"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, tmp_path / "in" / name)
    outcomes = import_scans(tmp_path / "in", tmp_path / "out")
    assert [one.failure and one.failure.code for one in outcomes] == [None, "duplicate-scan"]
    assert "duplicate-scan" in SKIPPED
    assert len(table(tmp_path / "out" / "subjects.csv")) == 1


def test_a_broken_file_stops_its_own_series_alone(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a", "1", 1, series_uid="1.2.1.1")
    broken = write(tmp_path / "in" / "b", "1", 2, series_uid="1.2.1.2")[2]
    broken.write_bytes(broken.read_bytes()[:300])
    outcomes = import_scans(tmp_path / "in", tmp_path / "out")
    assert [one.failure and one.failure.code for one in outcomes] == [None, "truncated-file"]


def test_the_command_says_what_came_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="siamed")
    source, out = archive(tmp_path / "in"), tmp_path / "out"
    assert main(["--source", str(source), "--out", str(out), "--least_slices", "3"]) == 1
    assert "4 scans of 3 subjects written, 0 were there, 1 passed over, 1 failed" in caplog.text
    assert main(["--source", str(source / "Doe_Jane"), "--out", str(out)]) == 0
    assert "0 scans of 1 subjects written, 2 were there, 1 passed over, 0 failed" in caplog.text


def test_wrong_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for inside in (source, source / "out"):
        with pytest.raises(ValueError, match="out must not be source or lie in it"):
            import_scans(source, inside)
    with pytest.raises(ValueError, match="source must be a folder that exists, got 'absent'"):
        import_scans(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["--source", str(tmp_path / "absent"), "--out", str(tmp_path / "out")])
    assert "source must be a folder" in capsys.readouterr().err
    (outcome,) = import_scans(source, tmp_path / "out")
    assert outcome.failure is not None and outcome.failure.code == "no-images"


@pytest.mark.data
def test_scanner_dicom_is_imported_as_it_is_read(data_folder: Path, tmp_path: Path) -> None:
    outcomes = import_scans(data_folder / "prostate_prostatex" / "dicom", tmp_path)
    assert len({one.reading.subject_id for one in outcomes}) == 2
    for one in outcomes:
        scan, image = read_scan(one.path), nibabel.load(one.reading.path)
        assert image.shape == (384, 384, 19)
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(scan.image.as_tensor()[0]))
        np.testing.assert_allclose(image.affine, np.asarray(scan.image.affine), atol=1e-4)

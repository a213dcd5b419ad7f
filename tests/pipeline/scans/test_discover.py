"""A batch is listed whole: one case a study or a file, and the bad ones too."""

from __future__ import annotations

import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from siamed.pipeline.scans import CaseError, find_cases, read_scan
from siamed.pipeline.scans.discover import series_cases

ARRAY = np.random.default_rng(3).integers(0, 900, (5, 8, 9)).astype(np.int16)


def _save(path, affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(ARRAY, np.diag([4, 0.6, 0.5, 1.0]) if affine is None else affine), path)


def _result(case) -> str:
    try:
        return read_scan(case).sequence
    except CaseError as error:
        assert error.case_id == case.case_id
        return error.code


def test_folder_of_studies_is_one_case_a_study(write, tmp_path):
    for number in (1, 2):
        for name, words in (("sag_t1", {"series_description": "t1"}), ("sag_t2", {})):
            write(tmp_path / f"p{number}" / name, study_uid=f"1.2.{number}", patient_id=f"P{number}", **words)
    cases = find_cases(tmp_path)
    assert [case.path for case in cases] == [tmp_path / "p1", tmp_path / "p2"]
    assert all(re.fullmatch(r"study-[0-9a-f]{16}", case.case_id) for case in cases)
    assert [_result(case) for case in cases] == ["T2", "T2"]


def test_study_folder_series_folder_and_file_are_one_case_each(write, tmp_path):
    paths = write(tmp_path / "s" / "1", series_number=1)
    write(tmp_path / "s" / "2", series_number=2)
    for place in (tmp_path / "s", tmp_path / "s" / "1", paths[0]):
        assert len(find_cases(place)) == 1
    assert read_scan(find_cases(paths[0])[0]).image.shape[-1] == 1


def test_two_studies_in_one_flat_folder_are_two_cases(write, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in (1, 2):
        for path in write(tmp_path / str(number), study_uid=f"1.2.{number}"):
            path.rename(flat / f"{number}_{path.name}")
        (tmp_path / str(number)).rmdir()
    cases = find_cases(flat)
    assert len(cases) == 2 and len({case.case_id for case in cases}) == 2
    assert [_result(case) for case in cases] == ["T2", "T2"]


def test_patients_that_share_a_study_id_by_a_poor_export_stay_apart(write, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, patient_id=name)
    assert len(find_cases(tmp_path)) == 2


def test_files_are_cases_by_their_own_names_and_labels_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO", logger="siamed")
    for name in ("1_T2.nii.gz", "2_T2.nii", "2_T2_label.nii", "3-mask.nii.gz", "masks/1_T2.nii.gz"):
        _save(tmp_path / name)
    assert [case.case_id for case in find_cases(tmp_path)] == ["1_T2", "2_T2"]
    assert "3 label or mask files" in caplog.text


def test_same_names_in_several_folders_get_unlike_ids(tmp_path):
    for name in ("a/t2.nii", "b/t2.nii", "b/t1.nii"):
        _save(tmp_path / name)
    assert sorted(case.case_id for case in find_cases(tmp_path)) == ["a-t2_nii", "b-t2_nii", "t1"]


def test_bad_cases_are_listed_and_never_end_the_batch(write, tmp_path):
    write(tmp_path / "1good", patient_id="1", study_uid="1.1")
    write(tmp_path / "2gap", patient_id="2", study_uid="1.2")[3].unlink()
    (tmp_path / "3empty").mkdir()
    (tmp_path / "4garbage").mkdir()
    (tmp_path / "4garbage" / "0001.dcm").write_bytes(b"nothing")
    _save(tmp_path / "5.nii.gz")
    (tmp_path / "6.nii.gz").write_bytes(b"nothing")
    write(tmp_path / "7good", patient_id="7", study_uid="1.7", series_description="t1")
    cases = find_cases(tmp_path)
    results = {case.path.name: _result(case) for case in cases}
    assert results == {
        "1good": "T2",
        "2gap": "missing-slices",
        "3empty": "no-images",
        "4garbage": "unreadable-file",
        "5.nii.gz": "unknown",
        "6.nii.gz": "unreadable-file",
        "7good": "T1",
    }
    assert len({case.case_id for case in cases}) == 7


@pytest.mark.parametrize("content", [[], ["README.txt"]])
def test_a_folder_without_scans_is_one_bad_case(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("no scan")
    (case,) = find_cases(tmp_path)
    assert _result(case) == "no-images"


def test_folders_of_documents_inside_a_study_are_no_cases(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=1)
    write(tmp_path / "s" / "2", series_number=2)
    (tmp_path / "s" / "docs").mkdir()
    (tmp_path / "s" / "docs" / "report.pdf").write_bytes(b"%PDF")
    assert len(find_cases(tmp_path / "s")) == 1


def test_hidden_files_are_passed_over(write, tmp_path):
    write(tmp_path / "s")
    (tmp_path / "s" / "._0001.dcm").write_bytes(b"a Mac was here")
    assert [_result(case) for case in find_cases(tmp_path)] == ["T2"]


def test_a_path_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CaseError, match="no such file or folder"):
        find_cases(tmp_path / "absent")


def test_ids_of_studies_hold_no_name_of_a_folder(write, tmp_path, identifying):
    write(tmp_path / identifying[1])
    (case,) = find_cases(tmp_path)
    assert identifying[1] not in case.case_id


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, siamed.pipeline.scans, siamed.pipeline.errors;"
        "print([m for m in ('torch', 'monai', 'pydicom', 'nibabel', 'itk') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_documents_beside_a_single_series_are_no_case_but_an_empty_folder_is(write, tmp_path):
    write(tmp_path / "s" / "1")
    (tmp_path / "s" / "docs").mkdir()
    (tmp_path / "s" / "docs" / "report.pdf").write_bytes(b"%PDF")
    assert len(find_cases(tmp_path / "s")) == 1
    (tmp_path / "s" / "2").mkdir()
    assert [_result(case) for case in find_cases(tmp_path / "s")] == ["T2", "no-images"]


def test_a_broken_file_beside_several_studies_is_a_case_of_its_own(write, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, patient_id=name)
    (tmp_path / "0001.dcm").write_bytes(b"nothing")
    assert sorted(_result(case) for case in find_cases(tmp_path)) == ["T2", "T2", "unreadable-file"]


def test_a_broken_file_elsewhere_in_a_study_is_noted(write, tmp_path):
    write(tmp_path / "1", series_number=1)
    write(tmp_path / "2", series_number=2)
    (tmp_path / "0001.dcm").write_bytes(b"nothing")
    (case,) = find_cases(tmp_path)
    for source in (case, tmp_path):
        assert any("1 unreadable files" in note for note in read_scan(source).notes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_pipes_and_dead_links_do_not_hang_or_crash(write, tmp_path):
    import os

    write(tmp_path / "s")
    os.mkfifo(tmp_path / "s" / "pipe")
    assert [_result(case) for case in find_cases(tmp_path)] == ["T2"]
    (tmp_path / "s" / "dead").symlink_to(tmp_path / "nowhere")
    assert [_result(case) for case in find_cases(tmp_path)] == ["unreadable-file"]


def test_dicom_named_as_another_format_is_known_by_its_content(write, tmp_path, volume):
    for path in write(tmp_path / "s"):
        path.rename(path.with_suffix(".img"))
    (case,) = find_cases(tmp_path)
    assert read_scan(case).image.shape == (1, *volume.shape)


def test_what_siamed_wrote_below_a_folder_is_no_scan(write, volume, affine, tmp_path):
    write(tmp_path / "series")
    out = tmp_path / "out"
    for name in ("hotspots/modic.nii.gz", "volumes/ivd/L4-L5.nii.gz", "mine/scan.nii.gz"):
        (out / name).parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), affine), out / name)
    before = len(find_cases(tmp_path))
    (out / "result.json").write_text('{"schema": "of something else"}')
    assert len(find_cases(tmp_path)) == before
    (out / "result.json").write_text('{\n "schema": "siamed/spine/1"}')
    assert len(find_cases(tmp_path)) == before - 1  # the volumes may be the user's own
    (out / "volumes.csv").write_text("path")
    assert len(find_cases(tmp_path)) == before - 2
    assert [case.path.name for case in find_cases(out / "volumes")] == ["L4-L5.nii.gz"]  # asked for by name


def test_a_label_map_beside_its_result_is_no_scan(volume, affine, tmp_path):
    for name in ("kidneys.nii.gz", "scan.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), affine), tmp_path / name)
    assert len(find_cases(tmp_path)) == 2  # without a result it may be anybody's
    (tmp_path / "result.json").write_text('{\n "schema": "siamed/segmentation/1"}')
    assert [case.path.name for case in find_cases(tmp_path)] == ["scan.nii.gz"]


def test_a_study_is_taken_apart_into_its_series(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=1, series_uid="1.2.1")
    write(tmp_path / "s" / "2", series_number=2, series_uid="1.2.2")[0].write_bytes(b"x")
    _save(tmp_path / "scan.nii.gz")
    file, study = sorted(find_cases(tmp_path), key=lambda case: case.path.is_dir())
    one, other = series_cases(study)
    assert (one.path, other.path) == (tmp_path / "s" / "1", tmp_path / "s" / "2")
    assert one.case_id == read_scan(one).scan_id
    assert _result(one) == "T2"
    assert _result(other) == "unreadable-file"  # it may have been one of the slices beside it
    assert series_cases(file) == [file]


def test_a_file_that_is_called_mask_and_nothing_else_is_no_scan(tmp_path):
    for name in ("a/imaging.nii.gz", "a/segmentation.nii.gz", "labelsTs/x.nii", "unmask.nii"):
        _save(tmp_path / name)
    assert [case.case_id for case in find_cases(tmp_path)] == ["imaging", "unmask"]

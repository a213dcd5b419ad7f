"""Every file that ships inside pydicom and nibabel ends in a scan or a CaseError, none in a traceback."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import pydicom.data
import pytest

from siamed.pipeline.scans import CaseError, find_cases, read_scan, sagittal_view

FOLDERS = {
    "nibabel": Path(nibabel.__file__).parent / "tests" / "data",
    "pydicom": Path(pydicom.data.__file__).parent / "test_files",
}


def _files(name: str) -> list[Path]:
    return sorted(p for p in FOLDERS[name].rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc"))


def _outcome(source) -> str:
    """Any other exception than CaseError fails the test that asks."""
    try:
        scan = read_scan(source)
    except CaseError as error:
        assert error.message and error.hint
        return error.code
    assert scan.image.ndim == 4 and scan.image.affine.shape == (4, 4)
    try:
        sagittal_view(scan)
    except CaseError as error:
        assert error.hint
    return "scan"


@pytest.mark.parametrize(
    ("package", "least_files", "least_scans"), [("nibabel", 80, 5), ("pydicom", 160, 40)]
)
def test_every_file_ends_in_a_scan_or_a_named_error(package, least_files, least_scans):
    files = _files(package)
    outcomes = Counter(_outcome(path) for path in files)
    assert len(files) >= least_files
    assert outcomes["scan"] >= least_scans, outcomes


@pytest.mark.parametrize("package", list(FOLDERS))
def test_the_folders_as_batches_end_in_rows(package):
    cases = find_cases(FOLDERS[package])
    assert len(cases) > 5 and len({case.case_id for case in cases}) == len(cases)
    outcomes = Counter(_outcome(case) for case in cases)
    assert outcomes["scan"] >= 1, outcomes


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("MR_small.dcm", "scan"),
        ("MR_small_bigendian.dcm", "scan"),
        ("MR_small_RLE.dcm", "scan"),
        ("MR_small_jp2klossless.dcm", "scan"),
        ("MR_small_jpeg_ls_lossless.dcm", "scan"),
        ("MR_truncated.dcm", "truncated-file"),
        ("SC_rgb_jpeg.dcm", "color"),
        ("JPEG2000.dcm", "no-position"),
        ("rtplan.dcm", "no-images"),
        ("reportsi.dcm", "no-images"),
    ],
)
def test_known_files_of_pydicom_end_as_expected(name, outcome):
    assert _outcome(FOLDERS["pydicom"] / name) == outcome


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("anatomical.nii", "scan"),
        ("example4d.nii.gz", "4-d"),
        ("example_nifti2.nii.gz", "4-d"),
        ("analyze.hdr", "unsupported-format"),
        ("resampled_anat_moved.nii", "non-finite"),
    ],
)
def test_known_files_of_nibabel_end_as_expected(name, outcome):
    assert _outcome(FOLDERS["nibabel"] / name) == outcome


def test_compressed_twins_of_one_picture_have_its_pixels():
    plain = read_scan(FOLDERS["pydicom"] / "MR_small.dcm").image.numpy()
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        assert (read_scan(FOLDERS["pydicom"] / name).image.numpy() == plain).all(), name

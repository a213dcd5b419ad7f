"""Real scanner DICOM: geometry as the masks drawn on it have it, and no spine."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.scans import CaseError, find_cases, read_scan, sagittal_view

pytestmark = pytest.mark.data


def _series(data_folder: Path) -> dict[str, Path]:
    folder = data_folder / "prostate_prostatex"
    return {path.name[:14]: path for path in sorted((folder / "dicom").iterdir())}


def test_geometry_of_scanner_dicom_is_that_of_the_masks(data_folder):
    """The masks were written by other software; their affines hold what it made of the same headers."""
    compared = 0
    for patient, folder in _series(data_folder).items():
        scan = read_scan(folder)
        for path in (data_folder / "prostate_prostatex").glob(f"{patient}_*.nii.gz"):
            mask = nibabel.load(path)
            assert mask.shape == tuple(scan.image.shape[1:])
            corners = np.array(
                [[i, j, k, 1] for i in (0, 383) for j in (0, 383) for k in (0, 18)], dtype=float
            )
            apart = np.linalg.norm(corners @ (np.asarray(scan.image.affine) - mask.affine).T, axis=1)
            assert apart.max() < 0.1, f"{apart.max():.3f} mm"
            compared += 1
    assert compared == 4


def test_axial_prostate_is_read_and_refused_as_a_spine(data_folder):
    cases = find_cases(data_folder / "prostate_prostatex" / "dicom")
    assert len(cases) == 2
    for case in cases:
        scan = read_scan(case)
        assert (scan.modality, scan.sequence, scan.image.shape) == ("MR", "T2", (1, 384, 384, 19))
        np.testing.assert_allclose(scan.spacing_mm, (0.5, 0.5, 3.0), atol=1e-3)
        with pytest.raises(CaseError, match="slices are axial") as caught:
            sagittal_view(scan)
        assert caught.value.code == "axial-series"


def test_every_spine_file_of_the_data_is_viewed(data_folder):
    folders = ("space_half", "space_native")
    cases = [case for name in folders for case in find_cases(data_folder / "spine_spider" / name)]
    assert len(cases) == 45
    for case in cases[::9] + find_cases(data_folder / "spine_sct"):
        view = sagittal_view(read_scan(case))
        assert "".join(nibabel.aff2axcodes(np.asarray(view.affine))) == "LIP"


def test_one_slice_files_are_viewed(data_folder):
    case = find_cases(data_folder / "spine_spider" / "midslice")[0]
    scan = read_scan(case)
    assert sagittal_view(scan).shape[:2] == (1, 1)
    assert scan.sequence in ("T1", "T2", "T2_SPACE")

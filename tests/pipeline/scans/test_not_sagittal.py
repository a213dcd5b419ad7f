"""Good scans that are no spine in sagittal MR are read, and refused only where a sagittal view is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from toy.broken import ARRAY, nifti

from siamed.pipeline.scans import CaseError, read_scan, sagittal_view


def ct_series(folder, write):
    write(folder, modality="CT", series_description="spine sag", echo_time_ms=None, repetition_time_ms=None)


def ct_nifti(folder, write):
    return nifti(folder, array=np.maximum(ARRAY, 1) - 1024)


def axial(folder, write):
    write(folder, matrix=np.array([[0.5, 0, 0, 0], [0, -0.6, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]]))


def coronal(folder, write):
    write(folder, matrix=np.array([[0.5, 0, 0, 0], [0, 0, 5, 0], [0, -0.6, 0, 0], [0, 0, 0, 1.0]]))


def oblique_normal(folder, write):
    normal, row = np.ones(3) / np.sqrt(3), np.array([1, -1, 0]) / np.sqrt(2)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([0.5 * row, 0.5 * np.cross(normal, row), 4 * normal], axis=1)
    write(folder, matrix=matrix)


def localizer_by_type(folder, write):
    write(folder, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))


def localizer_by_name(folder, write):
    write(folder, series_description="3-plane scout")


VIEWING = [
    (ct_series, "not-mr", "the scan is CT"),
    (ct_nifti, "not-mr", "values down to -1023"),
    (axial, "axial-series", r"axial \(0 degrees off, voxels 0.5 x 0.6 x 5 mm, axes RPI\)"),
    (coronal, "coronal-series", "slices are coronal"),
    (oblique_normal, "oblique-series", r"up to 55 degrees .* \(limit 45\)"),
    (localizer_by_type, "localizer", "a localizer"),
    (localizer_by_name, "localizer", "a localizer"),
]


@pytest.mark.parametrize(("making", "code", "match"), VIEWING, ids=[case[0].__name__ for case in VIEWING])
def test_what_is_no_sagittal_mr_is_read_but_not_viewed(tmp_path, write, identifying, making, code, match):
    scan = read_scan(making(tmp_path / "case", write) or tmp_path / "case")
    with pytest.raises(CaseError, match=match) as caught:
        sagittal_view(scan)
    assert caught.value.code == code and caught.value.path == scan.source
    assert not [part for part in identifying if part in str(caught.value) + repr(scan)]


def test_ringing_below_zero_is_not_taken_for_ct(tmp_path):
    array = ARRAY.astype(np.int16) * 30
    array[0, 0, 0] = -950
    assert sagittal_view(read_scan(nifti(tmp_path / "case", array=array))).shape == (1, 7, 20, 16)

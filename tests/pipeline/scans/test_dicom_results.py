"""Grades and maps as DICOM: they say what the result says, at the place it says, and refer to the scan."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans import Scan, check_is_dicom, in_scan_order, read_scan, sagittal_view
from siamed.pipeline.scans.dicom_results import write_map, write_report
from siamed.pipeline.scans.write_dicom import write_series

# (column, row, slice) directions: slices to the left and to the right, and a head-first oddity.
CODES = ["PIL", "PIR", "AIL"]


@pytest.fixture(params=[False, True], ids=["slice a file", "enhanced"])
def scan_of(request: pytest.FixtureRequest, spine: Any, tmp_path: Path) -> Any:
    def make(codes: str) -> Scan:
        image = nibabel.Nifti1Image(*spine.spine_array())
        turned = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes))))
        write_series(
            np.asarray(turned.dataobj),
            turned.affine,
            tmp_path / codes,
            patient_id="P-1",
            patient_name="Doe^Jane",
            series_description="T2 sag",
            echo_time_ms=100.0,
            repetition_time_ms=3000.0,
            enhanced=request.param,
        )
        return read_scan(tmp_path / codes)

    return make


def place_mm(image: pydicom.Dataset, frame: int, column: float, row: float) -> np.ndarray:
    """RAS+ mm of a point that is counted from the corner of a frame [dicom PS3.3, C.7.6.2.1.1]."""
    own, orientation, spacing = image, image, image
    if "PerFrameFunctionalGroupsSequence" in image:
        shared = image.SharedFunctionalGroupsSequence[0]
        own = image.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]
        orientation, spacing = shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0]
    across, down = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = spacing.PixelSpacing
    corner = np.array(own.ImagePositionPatient, float)
    lps = corner + across * between_columns * (column - 0.5) + down * between_rows * (row - 0.5)
    return lps * [-1, -1, 1]


@pytest.mark.parametrize("codes", CODES)
def test_the_report_says_each_grade_at_its_disc(
    scan_of: Any, reader: Any, tmp_path: Path, codes: str
) -> None:
    scan = scan_of(codes)
    result = reader.grade(scan).result
    report = hd.sr.srread(write_report(scan, result, tmp_path / "grades.dcm"))
    sources = {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, {f.path for f in scan.frames})}
    first = next(iter(sources.values()))
    assert (report.PatientID, report.StudyInstanceUID) == ("P-1", first.StudyInstanceUID)
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    referred = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert {str(i.ReferencedSOPInstanceUID) for i in referred.ReferencedSOPSequence} == set(sources)
    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [disc.level for disc in result.discs]
    meanings = [group.finding_sites[0].value.meaning for group in groups]
    assert meanings == ["L2/L3 disc", "L3/L4 disc", "L4/L5 disc", "L5/S1 disc"]
    for group, disc in zip(groups, result.discs, strict=True):
        said = {e.name.value: e.value for e in group.get_qualitative_evaluations()}
        assert said["pfirrmann"].value == f"pfirrmann-{disc.grades['pfirrmann'].grade}"
        present = said["herniation"].meaning
        assert present == ("Present" if disc.grades["herniation"].grade else "Absent")
        shares = {m.name.value: m.value for m in group.get_measurements()}
        assert shares["pfirrmann-probability"] == pytest.approx(disc.grades["pfirrmann"].confidence)
        region = group.roi
        assert region.graphic_type == hd.sr.GraphicTypeValues.POINT
        source = region.ContentSequence[0].ReferencedSOPSequence[0]
        image, frame = sources[source.ReferencedSOPInstanceUID], source.get("ReferencedFrameNumber", 1)
        place = place_mm(image, int(frame) - 1, *region.value[0])
        np.testing.assert_allclose(place[1:], disc.center_mm[1:], atol=0.01)
        assert abs(place[0] - disc.center_mm[0]) <= 2.5 + 1e-6  # half a slice


@pytest.mark.parametrize("codes", CODES)
def test_a_map_has_its_values_where_the_scan_has_them(scan_of: Any, tmp_path: Path, codes: str) -> None:
    scan = scan_of(codes)
    view = sagittal_view(scan)
    # A spot high in front, in the second slice from the left; a weaker one low behind, in the fourth.
    map_on_view = view.clone()
    map_on_view[:] = 0
    map_on_view[0, -2, 20, 30], map_on_view[0, -4, 150, 100] = 2.0, 0.5
    values = in_scan_order(map_on_view, scan)[0].numpy()
    path = write_map(scan, values, "upper_endplate", 3, tmp_path / "map.dcm")
    found = pydicom.dcmread(path)
    assert found.SeriesNumber == 9104
    sources = {str(pydicom.dcmread(f.path).SOPInstanceUID) for f in scan.frames}
    referred = {
        str(i.ReferencedSOPInstanceUID) for i in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred <= sources
    mapping = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    real = found.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert real.shape[0] == 2  # slices without evidence are left out
    affine = np.asarray(view.affine, float)
    for value, voxel in ((2.0, (view.shape[1] - 2, 20, 30)), (0.5, (view.shape[1] - 4, 150, 100))):
        ((frame, row, column),) = np.argwhere(np.isclose(real, value, atol=1e-3))
        place = place_mm(found, frame, column + 0.5, row + 0.5)
        np.testing.assert_allclose(place, affine[:3, :3] @ voxel + affine[:3, 3], atol=1e-3)


@pytest.mark.parametrize("codes", ["RAS", "PIL", "ASL", "LPI"])
def test_a_view_goes_back_to_the_order_of_its_file(spine: Any, tmp_path: Path, codes: str) -> None:
    scan = read_scan(spine.write_scan(tmp_path / "scan.nii.gz", codes))
    view = sagittal_view(scan)
    back = in_scan_order(view, scan)
    np.testing.assert_array_equal(back.numpy(), scan.image.numpy())
    np.testing.assert_allclose(back.affine, scan.image.affine, atol=1e-9)
    with pytest.raises(ValueError, match="view must have the scan's voxels"):
        in_scan_order(view[:, :-1], scan)


def test_what_cannot_be_written_is_refused(spine: Any, reader: Any, scan_of: Any, tmp_path: Path) -> None:
    nifti = read_scan(spine.write_scan(tmp_path / "scan.nii.gz"))
    with pytest.raises(CaseError, match="results can be written as DICOM only where") as refused:
        check_is_dicom(nifti)
    assert refused.value.code == "not-dicom"
    scan = scan_of("PIL")
    with pytest.raises(ValueError, match="result must have a graded disc, got 4 discs without a grade"):
        write_report(scan, reader.detect(scan).result, tmp_path / "grades.dcm")
    empty = np.zeros(tuple(scan.image.shape[1:]), np.float32)
    for values, said in ((empty, "not 0 throughout"), (empty - 1, "0 or more"), (empty[1:], "scan's shape")):
        with pytest.raises(ValueError, match=said):
            write_map(scan, values, "modic", 0, tmp_path / "map.dcm")
    assert not list(tmp_path.glob("*.dcm"))


def test_a_header_that_lacks_what_is_needed_ends_the_case_and_names_nobody(
    scan_of: Any, reader: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = scan_of("PIL")
    result = reader.grade(scan).result
    for path in {frame.path for frame in scan.frames}:
        dataset = pydicom.dcmread(path)
        dataset.PatientName = "SECRET"  # one component: highdicom warns, and quotes it
        dataset.save_as(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_report(scan, result, tmp_path / "grades.dcm")
    assert "SECRET" not in caplog.text + "".join(str(warning.message) for warning in said)
    for path in {frame.path for frame in scan.frames}:
        dataset = pydicom.dcmread(path)
        del dataset.StudyInstanceUID
        dataset.save_as(path)
    with pytest.raises(CaseError, match="the headers of the series lack") as refused:
        write_report(scan, result, tmp_path / "again.dcm")
    assert refused.value.code == "dicom-not-written"
    assert not (tmp_path / "again.dcm").exists()


@pytest.mark.parametrize("tool", ["dsrdump", "dciodvfy"])
def test_other_peoples_tools_take_them(scan_of: Any, reader: Any, tmp_path: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} (Debian: dcmtk, dicom3tools) is not installed")
    scan = scan_of("PIL")
    files = [write_report(scan, reader.grade(scan).result, tmp_path / "grades.dcm")]
    if tool == "dciodvfy":
        values = np.zeros(tuple(scan.image.shape[1:]), np.float32)
        values[3, 4, 2] = 1.0
        files.append(write_map(scan, values, "modic", 0, tmp_path / "map.dcm"))
    for file in files:
        ran = subprocess.run([tool, str(file)], capture_output=True, text=True, check=False)
        said = ran.stdout + ran.stderr
        assert ran.returncode == 0, said
        assert "Error" not in said, said
    if tool == "dsrdump":
        assert '"L5/S1 disc"' in said
        assert '"Pfirrmann grade 5"' in said


def test_a_map_of_a_scanners_series_keeps_its_geometry(data_folder: Path, tmp_path: Path) -> None:
    folder = next(path for path in sorted((data_folder / "prostate_prostatex" / "dicom").iterdir()))
    scan = read_scan(folder)
    values = np.zeros(tuple(scan.image.shape[1:]), np.float32)
    values[30, 50, 4], values[31, 50, 7] = 1.0, 0.25
    found = pydicom.dcmread(write_map(scan, values, "modic", 0, tmp_path / "map.dcm"))
    affine = np.asarray(scan.image.affine, float)
    for stored, voxel in ((65535, (30, 50, 4)), (round(65535 / 4), (31, 50, 7))):
        ((frame, row, column),) = np.argwhere(found.pixel_array == stored)
        assert (column, row) == voxel[:2]
        place = place_mm(found, frame, column + 0.5, row + 0.5)
        np.testing.assert_allclose(place, affine[:3, :3] @ voxel + affine[:3, 3], atol=1e-3)

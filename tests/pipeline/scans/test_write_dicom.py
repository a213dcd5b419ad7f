"""What is written is DICOM that other software understands."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom import uid

from siamed.pipeline.scans.write_dicom import write_series


def test_a_series_shares_its_uids_and_its_instances_do_not(write, tmp_path):

    headers = [pydicom.dcmread(path) for path in write(tmp_path / "s", study_uid=None)]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({getattr(ds, keyword) for ds in headers}) == 1
    assert len({ds.SOPInstanceUID for ds in headers}) == 7
    assert {ds.SOPClassUID for ds in headers} == {uid.MRImageStorage}
    assert [ds.InstanceNumber for ds in headers] == list(range(1, 8))


def test_geometry_is_written_in_lps_and_rows_first(write, tmp_path):
    ds = pydicom.dcmread(write(tmp_path / "s")[1])
    # By hand from the affine "PIL": columns run back (+y in LPS), rows down (-z), slice 1 at x = 12 - 4 mm.
    assert [float(v) for v in ds.ImageOrientationPatient] == [0, 1, 0, 0, 0, -1]
    assert [float(v) for v in ds.ImagePositionPatient] == [-8, -30, 40]
    assert [float(v) for v in ds.PixelSpacing] == [0.6, 0.5]
    assert (ds.Columns, ds.Rows) == (16, 20)
    assert float(ds.EchoTime) == 100 and float(ds.RepetitionTime) == 3500


def test_enhanced_file_has_one_functional_group_a_frame(write, tmp_path):
    ds = pydicom.dcmread(write(tmp_path / "s", enhanced=True)[0])
    assert ds.SOPClassUID == uid.EnhancedMRImageStorage and ds.NumberOfFrames == 7
    assert len(ds.PerFrameFunctionalGroupsSequence) == 7
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert shared.MREchoSequence[0].EffectiveEchoTime == 100
    assert shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime == 3500


def test_elements_hold_valid_values(write, tmp_path, monkeypatch):
    """pydicom checks each value against its type on writing and, here, on reading."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for enhanced in (False, True):
        for path in write(tmp_path / str(enhanced), enhanced=enhanced):
            pydicom.dcmread(path).walk(lambda ds, element: element.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"array": np.zeros((4, 5))}, "volume must have shape"),
        ({"array": np.full((4, 5, 2), 70000)}, "must fit 16-bit integers"),
        ({"array": np.full((4, 5, 2), np.nan)}, "volume must be finite"),
        ({"matrix": np.diag([1, 1, 0, 1.0])}, "spacings above 0 mm"),
        (
            {"matrix": np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])},
            "perpendicular axes",
        ),
        ({"modality": "US"}, "modality must be MR"),
        ({"modality": "CT", "enhanced": True}, "modality must be MR"),
        ({"rescale_slope": 0.0}, "rescale_slope must be finite and not 0"),
        ({"instance_numbers": [1, 2]}, "one number a slice"),
    ],
)
def test_what_cannot_be_written_is_refused(write, tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        write(tmp_path / "s", **changes)
    assert not list(tmp_path.rglob("*.dcm"))


def test_same_uid_arguments_join_series_to_a_study(tmp_path, volume, affine):
    words = {"patient_id": "7", "study_uid": "1.2.3", "frame_of_reference_uid": "1.2.9"}
    one = pydicom.dcmread(write_series(volume, affine, tmp_path / "1", **words)[0])
    two = pydicom.dcmread(write_series(volume, affine, tmp_path / "2", **words)[0])
    assert one.StudyInstanceUID == two.StudyInstanceUID == "1.2.3"
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID == "1.2.9"
    assert one.SeriesInstanceUID != two.SeriesInstanceUID

"""Write a volume as a DICOM series: the phantoms' way out and the tests' way in.

The files are plain MR (or CT) Image Storage, one slice a file, or one Enhanced MR multi-frame file, as a
scanner would store them: unique identifiers, Image Orientation and Position (Patient) in DICOM's LPS frame,
Pixel Spacing in the order (between rows, between columns) [dicom PS3.3, C.7.6.2 and C.8.3].

Axes: ``volume[i, j, k]`` has i = DICOM column (x), j = DICOM row (y), k = slice, as the reader gives it back.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

_SOP_CLASSES = {"MR": MRImageStorage, "CT": CTImageStorage}
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def write_series(
    volume: np.ndarray,
    affine_ras: np.ndarray,
    folder: str | Path,
    *,
    patient_id: str,
    patient_name: str = "",
    study_description: str = "",
    series_description: str = "",
    modality: str = "MR",
    echo_time_ms: float | None = None,
    repetition_time_ms: float | None = None,
    inversion_time_ms: float | None = None,
    series_number: int = 1,
    study_uid: str | None = None,
    series_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "M"),
    rescale_slope: float = 1.0,
    rescale_intercept: float = 0.0,
    slice_thickness_mm: float | None = None,
    instance_numbers: Sequence[int] | None = None,
    enhanced: bool = False,
) -> list[Path]:
    """Write ``volume`` as one DICOM series and return the files in slice order.

    Args:
        volume: values to be read back; stored as 16-bit integers ``round((value - intercept) / slope)``.
        affine_ras: 4x4, voxel index to RAS+ mm; the slice axis must be perpendicular to the two others.
        folder: created where absent; files are named ``0001.dcm`` ... in slice order.
        patient_id: Patient ID (0010,0020).
        patient_name: Patient's Name, written as given; phantoms leave it empty.
        study_description: Study Description (0008,1030).
        series_description: Series Description (0008,103E).
        modality: "MR" or "CT".
        echo_time_ms: Echo Time in ms; absent where None.
        repetition_time_ms: Repetition Time in ms; absent where None.
        inversion_time_ms: Inversion Time in ms; absent where None.
        series_number: Series Number (0020,0011).
        study_uid: give the same one to every series of a study; a new one where None.
        series_uid: Series Instance UID; a new one where None.
        frame_of_reference_uid: the same for series in one patient position; a new one where None.
        image_type: Image Type (0008,0008); a third value "LOCALIZER" makes a localizer.
        rescale_slope: Rescale Slope, not 0.
        rescale_intercept: Rescale Intercept.
        slice_thickness_mm: Slice Thickness; the distance between slices where None.
        instance_numbers: Instance Number of each slice; 1, 2, ... where None.
        enhanced: one Enhanced MR multi-frame file in place of one file a slice (MR only).

    Shape:
        volume: (I, J, K) = (columns, rows, slices).

    Returns:
        The written files: K of them, or one where ``enhanced``.

    Raises:
        ValueError: for a wrong shape or affine, values that do not fit 16 bits, or an unknown modality.
    """
    volume, affine = np.asarray(volume), np.asarray(affine_ras, dtype=np.float64)
    _check(volume, affine, modality, enhanced, instance_numbers)
    stored = _stored_values(volume, rescale_slope, rescale_intercept)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    common = Dataset()
    _patient_and_study(common, patient_id, patient_name, study_description, study_uid or generate_uid())
    common.Modality = modality
    common.SeriesInstanceUID = series_uid or generate_uid()
    common.SeriesNumber = series_number
    common.SeriesDescription = series_description
    common.FrameOfReferenceUID = frame_of_reference_uid or generate_uid()
    common.PositionReferenceIndicator = ""
    common.ImageType = list(image_type)
    common.PatientPosition = "HFS"
    _pixel_description(common, stored)

    timing = {
        "EchoTime": echo_time_ms,
        "RepetitionTime": repetition_time_ms,
        "InversionTime": inversion_time_ms,
    }
    geometry = _Geometry(affine, slice_thickness_mm)
    if enhanced:
        dataset = _enhanced(common, stored, geometry, timing, rescale_slope, rescale_intercept)
        path = folder / "0001.dcm"
        _save(dataset, path, EnhancedMRImageStorage)
        return [path]

    paths = []
    numbers = list(instance_numbers) if instance_numbers is not None else list(range(1, volume.shape[2] + 1))
    for k in range(volume.shape[2]):
        dataset = Dataset()
        dataset.update(common)
        if modality == "MR":
            dataset.ScanningSequence, dataset.SequenceVariant = "SE", "SK"
            dataset.ScanOptions, dataset.MRAcquisitionType, dataset.EchoTrainLength = "", "2D", 1
        for keyword, value in timing.items():
            if value is not None:
                setattr(dataset, keyword, _ds(value))
        dataset.InstanceNumber = numbers[k]
        dataset.AcquisitionNumber = 1
        dataset.ImageOrientationPatient = [_ds(v) for v in geometry.orientation]
        dataset.ImagePositionPatient = [_ds(v) for v in geometry.position(k)]
        dataset.PixelSpacing = [_ds(v) for v in geometry.pixel_spacing]
        dataset.SliceThickness = _ds(geometry.thickness)
        if modality == "MR":
            dataset.SpacingBetweenSlices = _ds(geometry.step)
        if modality == "CT" or rescale_slope != 1.0 or rescale_intercept != 0.0:
            dataset.RescaleSlope, dataset.RescaleIntercept = _ds(rescale_slope), _ds(rescale_intercept)
            dataset.RescaleType = "HU" if modality == "CT" else "US"
        dataset.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        path = folder / f"{k + 1:04d}.dcm"
        _save(dataset, path, _SOP_CLASSES[modality])
        paths.append(path)
    return paths


class _Geometry:
    """DICOM's words for an affine: directions, spacings and one position a slice, all in LPS mm."""

    def __init__(self, affine_ras: np.ndarray, thickness: float | None) -> None:
        columns = _LPS_FROM_RAS @ affine_ras[:3, :3]
        self._origin = _LPS_FROM_RAS @ affine_ras[:3, 3]
        self._step = columns[:, 2]
        spacing = np.linalg.norm(columns, axis=0)
        self.orientation = np.concatenate([columns[:, 0] / spacing[0], columns[:, 1] / spacing[1]])
        self.pixel_spacing = (spacing[1], spacing[0])  # between rows first: that is how DICOM stores it
        self.step = float(spacing[2])
        self.thickness = self.step if thickness is None else float(thickness)

    def position(self, k: int) -> np.ndarray:
        return self._origin + k * self._step


def _check(
    volume: np.ndarray, affine: np.ndarray, modality: str, enhanced: bool, numbers: Sequence[int] | None
) -> None:
    if volume.ndim != 3 or 0 in volume.shape:
        raise ValueError(
            f"volume must have shape (columns, rows, slices), none of them 0, got {volume.shape}"
        )
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(
            f"affine_ras must be a finite 4x4 matrix, got shape {affine.shape}: {affine.tolist()}"
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing <= 0).any():
        raise ValueError(f"affine_ras must have spacings above 0 mm, got {spacing.tolist()}")
    cosines = (affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing)
    if np.abs(cosines - np.eye(3)).max() > 1e-4:
        raise ValueError(f"affine_ras must have perpendicular axes, got cosines {cosines.round(6).tolist()}")
    if modality not in _SOP_CLASSES or (enhanced and modality != "MR"):
        raise ValueError(f"modality must be MR, or CT where not enhanced, got {modality!r}")
    if numbers is not None and len(numbers) != volume.shape[2]:
        raise ValueError(
            f"instance_numbers must have one number a slice ({volume.shape[2]}), got {len(numbers)}"
        )


def _stored_values(volume: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ValueError(
            f"rescale_slope must be finite and not 0, intercept finite, got {slope} and {intercept}"
        )
    if not np.isfinite(volume).all():
        raise ValueError("volume must be finite, got NaN or infinity")
    stored = np.round((volume.astype(np.float64) - intercept) / slope)
    low, high = float(stored.min()), float(stored.max())
    if low >= 0 and high <= 65535:
        return stored.astype(np.uint16)
    if low >= -32768 and high <= 32767:
        return stored.astype(np.int16)
    raise ValueError(
        f"volume must fit 16-bit integers after rescaling, got stored values from {low} to {high}"
    )


def _patient_and_study(ds: Dataset, patient_id: str, name: str, description: str, study_uid: str) -> None:
    now = datetime.datetime.now()
    ds.PatientName, ds.PatientID = name, patient_id
    ds.PatientBirthDate, ds.PatientSex = "", ""
    ds.StudyInstanceUID, ds.StudyID, ds.StudyDescription = study_uid, "1", description
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = now.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = now.strftime("%H%M%S")
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.Manufacturer = "siamed phantom"
    ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "phantom", "0", "1"


def _pixel_description(ds: Dataset, stored: np.ndarray) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Columns, ds.Rows = int(stored.shape[0]), int(stored.shape[1])
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(stored.dtype == np.int16)


def _enhanced(
    common: Dataset,
    stored: np.ndarray,
    geometry: _Geometry,
    timing: dict[str, float | None],
    slope: float,
    intercept: float,
) -> Dataset:
    """One Enhanced MR dataset: what is common in the shared groups, positions frame by frame."""
    ds = Dataset()
    ds.update(common)
    # The enhanced IOD demands four values of Image Type and a few words about the acquisition.
    ds.ImageType = [*list(common.ImageType), "NONE", "NONE", "NONE"][:4]
    ds.InstanceNumber, ds.NumberOfFrames = 1, int(stored.shape[2])
    ds.AcquisitionNumber = 1
    ds.AcquisitionDateTime = common.StudyDate + common.StudyTime
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique, ds.ComplexImageComponent = "NONE", "MAGNITUDE"
    ds.AcquisitionContrast, ds.ContentQualification = "UNKNOWN", "RESEARCH"
    ds.ResonantNucleus, ds.KSpaceFiltering, ds.MagneticFieldStrength = "1H", "NONE", 1.5
    ds.ApplicableSafetyStandardAgency = "IEC"
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PresentationLUTShape = "NO", "00", "IDENTITY"
    ds.AcquisitionContextSequence = DicomSequence([])

    organization = generate_uid()
    ds.DimensionOrganizationSequence = DicomSequence([_item(DimensionOrganizationUID=organization)])
    ds.DimensionIndexSequence = DicomSequence(
        [
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=pointer,
                FunctionalGroupPointer=0x00209111,
            )
            for pointer in (0x00209056, 0x00209057)  # Stack ID, In-Stack Position Number
        ]
    )
    shared = Dataset()
    shared.PixelMeasuresSequence = DicomSequence(
        [
            _item(
                PixelSpacing=[_ds(v) for v in geometry.pixel_spacing],
                SliceThickness=_ds(geometry.thickness),
                SpacingBetweenSlices=_ds(geometry.step),
            )
        ]
    )
    shared.PlaneOrientationSequence = DicomSequence(
        [_item(ImageOrientationPatient=[_ds(v) for v in geometry.orientation])]
    )
    shared.PixelValueTransformationSequence = DicomSequence(
        [_item(RescaleSlope=_ds(slope), RescaleIntercept=_ds(intercept), RescaleType="US")]
    )
    shared.MRImageFrameTypeSequence = DicomSequence(
        [
            _item(
                FrameType=list(ds.ImageType),
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
                ComplexImageComponent="MAGNITUDE",
                AcquisitionContrast="UNKNOWN",
            )
        ]
    )
    shared.FrameAnatomySequence = DicomSequence([_item(FrameLaterality="U")])
    if timing["EchoTime"] is not None:
        shared.MREchoSequence = DicomSequence([_item(EffectiveEchoTime=float(timing["EchoTime"]))])
    if timing["RepetitionTime"] is not None:
        shared.MRTimingAndRelatedParametersSequence = DicomSequence(
            [_item(RepetitionTime=_ds(timing["RepetitionTime"]), FlipAngle=_ds(90.0), EchoTrainLength=1)]
        )
    if timing["InversionTime"] is not None:
        shared.MRModifierSequence = DicomSequence(
            [_item(InversionRecovery="YES", InversionTimes=float(timing["InversionTime"]))]
        )
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])

    frames = []
    for k in range(stored.shape[2]):
        frame = Dataset()
        frame.FrameContentSequence = DicomSequence(
            [_item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])]
        )
        frame.PlanePositionSequence = DicomSequence(
            [_item(ImagePositionPatient=[_ds(v) for v in geometry.position(k)])]
        )
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    ds.PixelData = np.ascontiguousarray(stored.transpose(2, 1, 0)).tobytes()
    return ds


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _ds(value: float) -> DSfloat:
    # A decimal string holds 16 characters; auto_format rounds to what fits.
    return DSfloat(float(value), auto_format=True)


def _save(dataset: Dataset, path: Path, sop_class: UID) -> None:
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), dataset, file_meta=meta, preamble=b"\0" * 128)
    if len(file.PixelData) % 2:
        file.PixelData += b"\0"
    file["PixelData"].VR = "OW"
    file.save_as(path, enforce_file_format=True)

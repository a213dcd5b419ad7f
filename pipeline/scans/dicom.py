"""Read DICOM: headers into series, one series into a volume.

Single-frame and Enhanced multi-frame files end in the same list of frames. Array index (i, j, k) = (column,
row, slice), as ITK counts [D-0010]. Rescale slope and intercept are applied frame by frame. Compressed
transfer syntaxes go through whatever pixel decoders pydicom finds installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import UID, ParametricMapStorage, SegmentationStorage

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.dicom_elements import (
    MONOCHROME,
    color_of,
    first_item,
    functional_group,
    image_type_of,
    number_of,
    numbers_of,
    silence,
    text_of,
    truncated,
)
from siamed.pipeline.scans.dicom_pixels import read_pixels
from siamed.pipeline.scans.sequence import is_localizer_name, name_sequence
from siamed.pipeline.scans.stack import Frame, stack_frames
from siamed.pipeline.scans.volume import SourceFrame, Volume

_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
# They have rows and columns and show no patient: masks and maps of values drawn over a scan.
_OVERLAY_CLASSES = (SegmentationStorage, ParametricMapStorage)
_MAX_FRAMES = 20_000  # a damaged number would otherwise fill the memory before a pixel is read


@dataclass(frozen=True)
class FileHeader:
    """One DICOM file that holds an image: what selection and stacking need, no pixels."""

    path: Path
    study_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    series_uid: str
    series_number: int | None
    description: str
    words: str
    modality: str
    image_type: tuple[str, ...]
    color: str
    echo_time_ms: float | None
    repetition_time_ms: float | None
    inversion_time_ms: float | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Series:
    """The files of one SeriesInstanceUID."""

    files: tuple[FileHeader, ...]

    @property
    def first(self) -> FileHeader:
        return self.files[0]

    @property
    def frames(self) -> tuple[Frame, ...]:
        return tuple(frame for file in self.files for frame in file.frames)

    @property
    def sequence(self) -> str:
        f = self.first
        return name_sequence(f.words, f.echo_time_ms, f.repetition_time_ms, f.inversion_time_ms)

    @property
    def localizer(self) -> bool:
        f = self.first
        return "LOCALIZER" in f.image_type or is_localizer_name(f.description)

    @property
    def name(self) -> str:
        """Number and description, for messages."""
        number = "?" if self.first.series_number is None else str(self.first.series_number)
        return f"series {number} '{self.first.description}'"


def looks_like_dicom(path: Path) -> bool:
    """Tell from the first 132 bytes whether the file may be DICOM, whatever its name.

    With the preamble it says so itself; without one (old exports) it starts with an element of group 0002 or
    0008, in either byte order.
    """
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:132] == b"DICM" or start[:4] in _BARE_STARTS


_BARE_STARTS = frozenset(
    bytes([group, 0, element, 0]) for group in (2, 8) for element in (0, 1, 5, 8, 0x10, 0x12, 0x16)
) | frozenset(bytes([0, group, 0, element]) for group in (2, 8) for element in (0, 1, 5, 8, 0x10, 0x12, 0x16))


def read_header(path: Path) -> FileHeader | None:
    """Read a file's header; None where it is sound DICOM without a scan (a report, a mask, a DICOMDIR).

    Raises:
        CaseError: code ``unreadable-file`` or ``truncated-file``.
    """
    try:
        with silence():
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if text_of(ds, "SOPClassUID") == _DIRECTORY_CLASS or "DirectoryRecordSequence" in ds:
                return None
            if text_of(ds, "SOPClassUID") in _OVERLAY_CLASSES:
                return None
            if not len(ds):
                raise EOFError
            if "Rows" in ds and "Columns" in ds:
                return _header(path, ds)
            _check_holds_no_image(path, ds)
            return None
    except CaseError:
        raise
    except EOFError as error:
        raise truncated(path, "the header ends in the middle of an element") from error
    except Exception as error:  # a broken file may raise anything from the parser, and must not end a batch
        raise CaseError(
            "unreadable-file",
            f"a DICOM header cannot be parsed ({type(error).__name__})",
            path=path,
            hint="Copy the file again from its source, or remove it from the folder.",
        ) from error


def group_series(headers: Iterable[FileHeader]) -> list[Series]:
    """Group files by SeriesInstanceUID; series ascend by number, files by path."""
    groups: dict[str, list[FileHeader]] = {}
    for header in headers:
        groups.setdefault(header.series_uid, []).append(header)
    series = [Series(tuple(sorted(files, key=lambda f: f.path))) for files in groups.values()]
    return sorted(
        series, key=lambda s: (s.first.series_number is None, s.first.series_number or 0, s.first.path)
    )


def read_series(series: Series) -> Volume:
    """Read one series into a volume.

    Raises:
        CaseError: see :func:`~siamed.pipeline.scans.stack.stack_frames`; also ``color``, ``localizer``,
            ``no-decoder``, ``truncated-file``, ``unreadable-file``.
    """
    first = series.first
    for file in series.files:
        if file.color not in MONOCHROME:
            raise CaseError(
                "color",
                f"{series.name} is a color picture ({file.color or 'no Photometric Interpretation'})",
                path=file.path,
                hint="Give the original gray-scale series, not a screenshot or an overlay.",
            )
    try:
        stack = stack_frames(series.frames)
    except CaseError as error:
        if error.code == "mixed-orientations" and series.localizer:
            raise CaseError(
                "localizer",
                f"{series.name} is a localizer: {error.message}",
                path=first.path,
                hint="Give the sagittal series of the study.",
            ) from error
        raise CaseError(
            error.code, f"{series.name}: {error.message}", path=first.path, hint=error.hint
        ) from error
    notes = list(stack.notes)
    if first.color == "MONOCHROME1":
        notes.append("MONOCHROME1: the file shows low values bright; values are given as stored")
    pixels: dict[Path, np.ndarray] = {}
    array: np.ndarray | None = None
    for k, frame in enumerate(stack.frames):
        if frame.path not in pixels:
            pixels[frame.path] = read_pixels(frame.path)
        if array is None:  # not before the first pixels are there: a damaged header may promise any size
            array = np.empty((frame.columns, frame.rows, len(stack.frames)), dtype=np.float32)
        array[:, :, k] = (
            pixels[frame.path][frame.index].astype(np.float64) * frame.slope + frame.intercept
        ).T
        if len(series.files) == len(stack.frames):  # one frame a file: nothing to keep
            del pixels[frame.path]
    if not first.patient_id:
        notes.append("no Patient ID in the file: the subject id stands for the study")
    return Volume(
        array=np.empty((0, 0, 0)) if array is None else array,
        affine=stack.affine,
        modality=first.modality or "unknown",
        sequence=series.sequence,
        subject=f"patient:{first.patient_id}" if first.patient_id else f"study:{first.study_uid}",
        identity=f"series:{first.series_uid}",
        localizer=series.localizer,
        notes=notes,
        frames=tuple(SourceFrame(frame.path, frame.index) for frame in stack.frames),
    )


def _header(path: Path, ds: Dataset) -> FileHeader:
    words = " ".join(text_of(ds, key) for key in ("SeriesDescription", "ProtocolName", "SequenceName"))
    shared = first_item(ds, "SharedFunctionalGroupsSequence")
    echo_time = number_of(ds, "EchoTime")
    repetition_time = number_of(ds, "RepetitionTime")
    inversion_time = number_of(ds, "InversionTime")
    per_frame = list(ds.get("PerFrameFunctionalGroupsSequence") or [])
    count = int(number_of(ds, "NumberOfFrames") or 1)
    if count > _MAX_FRAMES:
        raise CaseError(
            "unreadable-file",
            f"the header promises {count} frames in one file (limit {_MAX_FRAMES})",
            path=path,
            hint="Copy the file again from its source.",
        )
    groups = [(per_frame[n] if n < len(per_frame) else Dataset(), shared) for n in range(count)]
    if per_frame or len(shared):
        echo_time = number_of(functional_group(groups[0], "MREchoSequence"), "EffectiveEchoTime") or echo_time
        timing = functional_group(groups[0], "MRTimingAndRelatedParametersSequence")
        repetition_time = number_of(timing, "RepetitionTime") or repetition_time
        inversions = numbers_of(functional_group(groups[0], "MRModifierSequence"), "InversionTimes")
        inversion_time = float(inversions[0]) if inversions is not None else inversion_time
    series_uid = text_of(ds, "SeriesInstanceUID")
    number = number_of(ds, "SeriesNumber")
    return FileHeader(
        path=path,
        study_uid=text_of(ds, "StudyInstanceUID"),
        patient_id=text_of(ds, "PatientID"),
        # Without a series id a file can only be a series of its own.
        series_uid=series_uid or f"file:{path.name}",
        series_number=None if number is None else int(number),
        description=text_of(ds, "SeriesDescription"),
        words=words,
        modality=text_of(ds, "Modality"),
        image_type=image_type_of(ds),
        color=color_of(ds),
        echo_time_ms=echo_time,
        repetition_time_ms=repetition_time,
        inversion_time_ms=inversion_time,
        frames=tuple(_frame(path, ds, n, group, echo_time) for n, group in enumerate(groups)),
    )


def _frame(
    path: Path, ds: Dataset, index: int, groups: tuple[Dataset, Dataset], echo_time: float | None
) -> Frame:
    enhanced = bool(len(groups[0]) or len(groups[1]))
    position, orientation, measures, rescale = ds, ds, ds, ds
    image_type = image_type_of(ds)
    if enhanced:
        position = functional_group(groups, "PlanePositionSequence")
        orientation = functional_group(groups, "PlaneOrientationSequence")
        measures = functional_group(groups, "PixelMeasuresSequence")
        rescale = functional_group(groups, "PixelValueTransformationSequence")
        echo_time = number_of(functional_group(groups, "MREchoSequence"), "EffectiveEchoTime") or echo_time
        frame_type = image_type_of(functional_group(groups, "MRImageFrameTypeSequence"), "FrameType")
        image_type = frame_type or image_type
    # A plain multi-frame file has one position for all its frames, which therefore says nothing about each.
    single = enhanced or int(number_of(ds, "NumberOfFrames") or 1) == 1
    slope, intercept = number_of(rescale, "RescaleSlope"), number_of(rescale, "RescaleIntercept")
    spacing = numbers_of(measures, "PixelSpacing", 2)
    return Frame(
        path=path,
        index=index,
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        position=numbers_of(position, "ImagePositionPatient", 3) if single else None,
        orientation=numbers_of(orientation, "ImageOrientationPatient", 6),
        pixel_spacing=spacing if spacing is not None and (spacing > 0).all() else None,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        thickness=number_of(measures, "SliceThickness"),
        echo_time_ms=echo_time,
        image_type=image_type,
    )


def _check_holds_no_image(path: Path, ds: Dataset) -> None:
    """Raise where a file without rows should hold an image, or is no DICOM at all."""
    sop_class = UID(
        text_of(getattr(ds, "file_meta", Dataset()), "MediaStorageSOPClassUID") or text_of(ds, "SOPClassUID")
    )
    if "Image Storage" in sop_class.name:
        raise truncated(path, f"{sop_class.name} without Rows and Columns")
    if not (sop_class or text_of(ds, "Modality") or text_of(ds, "StudyInstanceUID")):
        raise CaseError(
            "unreadable-file",
            "a file starts like DICOM but has neither an image nor a SOP class",
            path=path,
            hint="Copy the file again from its source, or remove it from the folder.",
        )


def study_key(header: FileHeader) -> tuple[str, str]:
    """Return what makes two files one study; the patient counts too, as poor exports reuse study ids."""
    return header.study_uid, header.patient_id


def group_studies(headers: Sequence[FileHeader]) -> list[list[FileHeader]]:
    """Group headers into studies, in the order of their first file."""
    studies: dict[tuple[str, str], list[FileHeader]] = {}
    for header in sorted(headers, key=lambda h: h.path):
        studies.setdefault(study_key(header), []).append(header)
    return list(studies.values())

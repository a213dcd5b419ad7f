"""Read DICOM: headers into series, one series into a volume.

Single-frame and Enhanced multi-frame files end in the same list of frames. Array index (i, j, k) = (column,
row, slice), as ITK counts [D-0010]. Rescale slope and intercept are applied frame by frame. Compressed
transfer syntaxes go through whatever pixel decoders pydicom finds installed.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.config
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.sequence import is_localizer_name, name_sequence
from siamed.pipeline.scans.stack import Frame, stack_frames
from siamed.pipeline.scans.volume import SourceFrame, Volume

_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_MAX_FRAMES = 20_000  # a damaged number would otherwise fill the memory before a pixel is read
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


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


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep remarks of pydicom and highdicom on odd values from showing: they quote the value, which may be a
    patient's."""
    logger, mute = logging.getLogger("pydicom"), logging.NullHandler()
    propagate = logger.propagate
    logger.propagate = False
    logger.addHandler(mute)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(mute)
        logger.propagate = propagate


def read_header(path: Path) -> FileHeader | None:
    """Read a file's header; None where it is sound DICOM without an image (a report, a DICOMDIR).

    Raises:
        CaseError: code ``unreadable-file`` or ``truncated-file``.
    """
    try:
        with silence():
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if _text(ds, "SOPClassUID") == _DIRECTORY_CLASS or "DirectoryRecordSequence" in ds:
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
        raise _truncated(path, "the header ends in the middle of an element") from error
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
        if file.color not in _MONOCHROME:
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
            pixels[frame.path] = _read_pixels(frame.path)
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
    words = " ".join(_text(ds, key) for key in ("SeriesDescription", "ProtocolName", "SequenceName"))
    shared = _first_item(ds, "SharedFunctionalGroupsSequence")
    echo_time = _number(ds, "EchoTime")
    repetition_time = _number(ds, "RepetitionTime")
    inversion_time = _number(ds, "InversionTime")
    per_frame = list(ds.get("PerFrameFunctionalGroupsSequence") or [])
    count = int(_number(ds, "NumberOfFrames") or 1)
    if count > _MAX_FRAMES:
        raise CaseError(
            "unreadable-file",
            f"the header promises {count} frames in one file (limit {_MAX_FRAMES})",
            path=path,
            hint="Copy the file again from its source.",
        )
    groups = [(per_frame[n] if n < len(per_frame) else Dataset(), shared) for n in range(count)]
    if per_frame or len(shared):
        echo_time = _number(_group(groups[0], "MREchoSequence"), "EffectiveEchoTime") or echo_time
        timing = _group(groups[0], "MRTimingAndRelatedParametersSequence")
        repetition_time = _number(timing, "RepetitionTime") or repetition_time
        inversions = _numbers(_group(groups[0], "MRModifierSequence"), "InversionTimes")
        inversion_time = float(inversions[0]) if inversions is not None else inversion_time
    series_uid = _text(ds, "SeriesInstanceUID")
    number = _number(ds, "SeriesNumber")
    return FileHeader(
        path=path,
        study_uid=_text(ds, "StudyInstanceUID"),
        patient_id=_text(ds, "PatientID"),
        # Without a series id a file can only be a series of its own.
        series_uid=series_uid or f"file:{path.name}",
        series_number=None if number is None else int(number),
        description=_text(ds, "SeriesDescription"),
        words=words,
        modality=_text(ds, "Modality"),
        image_type=_image_type(ds),
        color=_color(ds),
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
    image_type = _image_type(ds)
    if enhanced:
        position = _group(groups, "PlanePositionSequence")
        orientation = _group(groups, "PlaneOrientationSequence")
        measures = _group(groups, "PixelMeasuresSequence")
        rescale = _group(groups, "PixelValueTransformationSequence")
        echo_time = _number(_group(groups, "MREchoSequence"), "EffectiveEchoTime") or echo_time
        frame_type = _image_type(_group(groups, "MRImageFrameTypeSequence"), "FrameType")
        image_type = frame_type or image_type
    # A plain multi-frame file has one position for all its frames, which therefore says nothing about each.
    single = enhanced or int(_number(ds, "NumberOfFrames") or 1) == 1
    slope, intercept = _number(rescale, "RescaleSlope"), _number(rescale, "RescaleIntercept")
    spacing = _numbers(measures, "PixelSpacing", 2)
    return Frame(
        path=path,
        index=index,
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        position=_numbers(position, "ImagePositionPatient", 3) if single else None,
        orientation=_numbers(orientation, "ImageOrientationPatient", 6),
        pixel_spacing=spacing if spacing is not None and (spacing > 0).all() else None,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        thickness=_number(measures, "SliceThickness"),
        echo_time_ms=echo_time,
        image_type=image_type,
    )


def _read_pixels(path: Path) -> np.ndarray:
    """Return the stored values of a file, shape (frames, rows, columns)."""
    try:
        with silence():
            ds = pydicom.dcmread(path, force=True)
            if not any(key in ds for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
                raise _truncated(path, "the header describes an image, but there is no pixel data")
            syntax = _transfer_syntax(ds)
            if syntax.is_compressed:
                _check_decoder(path, syntax)
            else:
                _check_length(path, ds)
            array = ds.pixel_array
            shape = (int(_number(ds, "NumberOfFrames") or 1), int(ds.Rows), int(ds.Columns))
    except CaseError:
        raise
    except EOFError as error:
        raise _truncated(path, "it ends in the middle of an element") from error
    except Exception as error:  # decoders are many and raise what they like; see read_header
        raise CaseError(
            "unreadable-file",
            f"the pixel data cannot be decoded ({type(error).__name__})",
            path=path,
            hint="Copy the file again from its source.",
        ) from error
    if array.size != np.prod(shape):
        raise CaseError(
            "unreadable-file",
            f"the pixel data hold {array.size} values where the header promises {shape}",
            path=path,
            hint="Copy the file again from its source.",
        )
    return array.reshape(shape)


def _transfer_syntax(ds: Dataset) -> Any:
    meta = getattr(ds, "file_meta", None)
    if meta is not None and "TransferSyntaxUID" in meta:
        return meta.TransferSyntaxUID
    # A bare data set cannot be compressed; how it is laid out is what the parser found out on the way.
    implicit, little = ds.original_encoding
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = syntax
    return syntax


def _check_length(path: Path, ds: Dataset) -> None:
    """Compare uncompressed pixel data with what the header promises; float pixels are left to pydicom."""
    if "PixelData" not in ds:
        return
    frames, bits = int(_number(ds, "NumberOfFrames") or 1), int(ds.BitsAllocated)
    promised = (int(ds.Rows) * int(ds.Columns) * int(ds.SamplesPerPixel) * frames * bits + 7) // 8
    held = len(ds.PixelData)
    if held < promised:
        raise _truncated(path, f"{held} bytes of pixel data where the header promises {promised}")


def _check_decoder(path: Path, syntax: Any) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise CaseError(
            "no-decoder",
            f"the pixels are compressed as {syntax.name}, which no installed package can decode",
            path=path,
            hint="Install pylibjpeg with its plug-ins or python-gdcm, or export the series uncompressed.",
        )


def _truncated(path: Path, what: str) -> CaseError:
    return CaseError(
        "truncated-file",
        f"a DICOM file is truncated: {what}",
        path=path,
        hint="Copy the file again from its source.",
    )


def _check_holds_no_image(path: Path, ds: Dataset) -> None:
    """Raise where a file without rows should hold an image, or is no DICOM at all."""
    sop_class = UID(
        _text(getattr(ds, "file_meta", Dataset()), "MediaStorageSOPClassUID") or _text(ds, "SOPClassUID")
    )
    if "Image Storage" in sop_class.name:
        raise _truncated(path, f"{sop_class.name} without Rows and Columns")
    if not (sop_class or _text(ds, "Modality") or _text(ds, "StudyInstanceUID")):
        raise CaseError(
            "unreadable-file",
            "a file starts like DICOM but has neither an image nor a SOP class",
            path=path,
            hint="Copy the file again from its source, or remove it from the folder.",
        )


def _first_item(ds: Dataset, keyword: str) -> Dataset:
    items = ds.get(keyword)
    return items[0] if items else Dataset()


def _group(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    """Return a functional group: the frame's own, else the shared one, else an empty data set."""
    own = _first_item(groups[0], keyword)
    return own if len(own) else _first_item(groups[1], keyword)


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip()


def _image_type(ds: Dataset, keyword: str = "ImageType") -> tuple[str, ...]:
    value = ds.get(keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def _color(ds: Dataset) -> str:
    """Return the Photometric Interpretation; an unnamed one-sample image is taken as MONOCHROME2."""
    samples = _number(ds, "SamplesPerPixel")
    named = _text(ds, "PhotometricInterpretation")
    if samples is not None and samples > 1:
        return named if named and named not in _MONOCHROME else f"{samples:.0f} samples a pixel"
    return named or "MONOCHROME2"


def _numbers(ds: Dataset, keyword: str, length: int | None = None) -> np.ndarray | None:
    """Return a value as finite floats, or None where it is absent, of another length or no number."""
    try:
        value = ds.get(keyword)
        if value is None or isinstance(value, str) and not value.strip():
            return None
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        return None
    if not len(numbers) or (length is not None and len(numbers) != length) or not np.isfinite(numbers).all():
        return None
    return numbers


def _number(ds: Dataset, keyword: str) -> float | None:
    numbers = _numbers(ds, keyword)
    return None if numbers is None else float(numbers[0])


def study_key(header: FileHeader) -> tuple[str, str]:
    """Return what makes two files one study; the patient counts too, as poor exports reuse study ids."""
    return header.study_uid, header.patient_id


def group_studies(headers: Sequence[FileHeader]) -> list[list[FileHeader]]:
    """Group headers into studies, in the order of their first file."""
    studies: dict[tuple[str, str], list[FileHeader]] = {}
    for header in sorted(headers, key=lambda h: h.path):
        studies.setdefault(study_key(header), []).append(header)
    return list(studies.values())

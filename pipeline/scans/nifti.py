"""Read NIfTI-1 and NIfTI-2 (nibabel): voxels in file order, affine in RAS+ mm as NIfTI's world is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel
import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.identity import file_stem, subject_from_file
from siamed.pipeline.scans.sequence import is_localizer_name, name_sequence
from siamed.pipeline.scans.volume import Volume

NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img")
_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
# sform and qform may differ by rounding (qform is stored as a float32 quaternion), not by more.
_FORMS_AGREE_MM = 1.0


def read_nifti(path: Path) -> Volume:
    """Read one NIfTI file.

    Raises:
        CaseError: code ``unreadable-file``, ``truncated-file``, ``unsupported-format``, ``no-affine``,
            ``ambiguous-affine``, ``color`` or ``4-d``.
    """
    try:
        image = nibabel.load(path)
    except Exception as error:  # a broken file may raise anything from the parser, and must not end a batch
        raise CaseError(
            "unreadable-file",
            f"the file is not a NIfTI image that can be read ({type(error).__name__})",
            path=path,
            hint="Copy the file again from its source, or convert the scan again.",
        ) from error
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair)):
        raise CaseError(
            "unsupported-format",
            f"the file is a {type(image).__name__}, which carries no affine to the patient or no volume",
            path=path,
            hint="Convert the scan to NIfTI, or give its DICOM files.",
        )
    notes: list[str] = []
    _check_kind(image, path)
    affine = _affine(image, path, notes)
    try:
        array = np.asanyarray(image.dataobj)
        array = np.asarray(array, dtype=np.float32)
    except Exception as error:  # see above; a file cut short fails here
        raise CaseError(
            "truncated-file",
            f"the voxels cannot be read: the file is shorter than its header says or damaged "
            f"({type(error).__name__})",
            path=path,
            hint="Copy the file again from its source.",
        ) from error
    if array.ndim == 2:
        array = array[:, :, None]
        notes.append("a picture of two axes, read as one slice")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    stem = file_stem(path)
    return Volume(
        array=array,
        affine=affine,
        sequence=name_sequence(stem),
        subject=f"file:{subject_from_file(path)}",
        identity="voxels:" + content_digest(array, affine),
        localizer=is_localizer_name(stem),
        notes=notes,
    )


def content_digest(array: np.ndarray, affine: np.ndarray) -> str:
    """Return a SHA-256 of voxels and affine: the same scan has the same id wherever it lies."""
    digest = hashlib.sha256(str(array.shape).encode())
    digest.update(np.ascontiguousarray(array.T).data)
    digest.update(np.ascontiguousarray(affine).data)
    return digest.hexdigest()


def _check_kind(image: nibabel.Nifti1Pair, path: Path) -> None:
    if image.get_data_dtype().fields is not None:
        raise CaseError(
            "color",
            f"the voxels are colors ({', '.join(image.get_data_dtype().names)})",
            path=path,
            hint="Give the original gray-scale scan.",
        )
    if np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise CaseError(
            "unsupported-format",
            "the voxels are complex numbers",
            path=path,
            hint="Export the magnitude image.",
        )
    shape = image.shape
    if len(shape) < 2 or 0 in shape:
        raise CaseError(
            "not-an-image", f"the file has shape {shape}", path=path, hint="Give a scan made of slices."
        )
    if any(n > 1 for n in shape[3:]):
        raise CaseError(
            "4-d",
            f"the file has shape {shape}, more than one volume",
            path=path,
            hint="Save one volume (echo, time point, direction) as a file of its own.",
        )


def _affine(image: nibabel.Nifti1Pair, path: Path, notes: list[str]) -> np.ndarray:
    header = image.header
    qform, qcode = header.get_qform(coded=True)
    sform, scode = header.get_sform(coded=True)
    if not scode and not qcode:
        raise CaseError(
            "no-affine",
            "neither sform nor qform is set (both codes are 0): left and right cannot be told",
            path=path,
            hint="Convert the scan again from its DICOM files, for example with dcm2niix.",
        )
    affine = np.array(sform if scode else qform, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CaseError(
            "no-affine",
            f"the {'sform' if scode else 'qform'} is not finite or not invertible: {affine.tolist()}",
            path=path,
            hint="Convert the scan again from its DICOM files, for example with dcm2niix.",
        )
    if scode and qcode:
        _check_forms_agree(affine, np.asarray(qform, dtype=np.float64), image.shape, path, notes)
    unit = header.get_xyzt_units()[0]
    scale = _MM_PER_UNIT[unit]
    if scale != 1.0:
        affine[:3] *= scale
        notes.append(f"the header gives lengths in {unit}; converted to mm")
    return affine


def _check_forms_agree(
    sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...], path: Path, notes: list[str]
) -> None:
    if not np.isfinite(qform).all():
        return
    size = [*shape[:3], 1][:3]
    corners = np.array(
        [[i, j, k, 1] for i in (0, size[0]) for j in (0, size[1]) for k in (0, size[2])], dtype=float
    )
    apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    if apart <= _FORMS_AGREE_MM:
        return
    facing = ["".join(nibabel.aff2axcodes(form)) for form in (sform, qform)]
    if facing[0] != facing[1]:
        raise CaseError(
            "ambiguous-affine",
            f"sform and qform contradict each other: the voxel axes point {facing[0]} and {facing[1]}",
            path=path,
            hint="Keep the right one (set the other's code to 0) or convert the DICOM files again.",
        )
    notes.append(f"sform and qform differ by up to {apart:.3g} mm; the sform is used")

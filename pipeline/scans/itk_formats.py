"""Read MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) with ITK; ITK's LPS world is turned into RAS+."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.identity import file_stem, subject_from_file
from siamed.pipeline.scans.nifti import content_digest
from siamed.pipeline.scans.sequence import is_localizer_name, name_sequence
from siamed.pipeline.scans.volume import Volume

ITK_ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_BYTES = 16384
# ITK fills in what a header leaves out (identity, 1 mm, 0), so the header itself is asked.
_META_GEOMETRY = {
    "TransformMatrix": r"^(TransformMatrix|Rotation|Orientation)\s*=",
    "Offset": r"^(Offset|Position|Origin)\s*=",
    "ElementSpacing": r"^ElementSpacing\s*=",
}
_NRRD_GEOMETRY = {
    # By name: of any other space, or a bare dimension, nobody knows which way left is.
    "space of a patient (LPS, RAS or LAS)": r"^space: *(left-posterior-superior|right-anterior-superior"
    r"|left-anterior-superior|LPS|RAS|LAS) *\r?$",
    "space directions": r"^space directions:",
    "space origin": r"^space origin:",
}


def read_itk(path: Path) -> Volume:
    """Read one MetaImage or NRRD file.

    Raises:
        CaseError: code ``unreadable-file``, ``no-affine``, ``color`` or ``4-d``.
    """
    _check_geometry(path)
    try:
        # Loading ITK's modules, which it does bit by bit, warns about its bindings; with warnings as errors
        # it would crash the process.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, affine = _load(path)
    except CaseError:
        raise
    except Exception as error:  # ITK raises RuntimeError, KeyError and its own for broken or odd files
        raise CaseError(
            "unreadable-file",
            f"the file cannot be read ({type(error).__name__}): truncated, damaged or of unknown type",
            path=path,
            hint="Copy the file again from its source, or convert the scan to NIfTI.",
        ) from error
    stem = file_stem(path)
    return Volume(
        array=array,
        affine=affine,
        sequence=name_sequence(stem),
        subject=f"file:{subject_from_file(path)}",
        identity="voxels:" + content_digest(array, affine),
        localizer=is_localizer_name(stem),
    )


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels (I, J, K) and affine to RAS+ mm; what ITK would silently convert is refused first."""
    import itk

    reader = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if reader is None:
        raise ValueError("no ITK reader knows this file")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = tuple(int(reader.GetDimensions(axis)) for axis in range(reader.GetNumberOfDimensions()))
    _check_kind(path, shape, int(reader.GetNumberOfComponents()))
    image = itk.imread(str(path))
    array = np.array(itk.array_view_from_image(image).T, dtype=np.float32)  # ITK's arrays are (k, j, i)
    affine = np.eye(4)
    affine[:3, :3] = (itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing()))[:3, :3]
    affine[:3, 3] = np.array(image.GetOrigin())[:3]
    return array.reshape(shape[:3]), _RAS_FROM_LPS @ affine


def _check_kind(path: Path, shape: tuple[int, ...], components: int) -> None:
    if components > 1:
        raise CaseError(
            "color",
            f"each voxel has {components} values (a color or vector image)",
            path=path,
            hint="Give the original gray-scale scan.",
        )
    if any(n > 1 for n in shape[3:]):
        raise CaseError(
            "4-d",
            f"the file has shape {shape}, more than one volume",
            path=path,
            hint="Save one volume (echo, time point, direction) as a file of its own.",
        )
    if len(shape) < 3:
        raise CaseError(
            "no-affine",
            f"the file has {len(shape)} axes, which do not say where the picture lies in the patient",
            path=path,
            hint="Give the scan as a volume, or its DICOM files.",
        )


def _check_geometry(path: Path) -> None:
    with open(path, "rb") as file:
        text = file.read(_HEADER_BYTES).decode("latin-1")
    nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    if nrrd != text.startswith("NRRD") or not nrrd and "ElementDataFile" not in text:
        raise CaseError(
            "unreadable-file",
            f"the file does not start with {'an NRRD' if nrrd else 'a MetaImage'} header",
            path=path,
            hint="Copy the file again from its source.",
        )
    header = re.split(r"\r?\n\r?\n" if nrrd else r"^ElementDataFile", text, maxsplit=1, flags=re.M)[0]
    rules = _NRRD_GEOMETRY if nrrd else _META_GEOMETRY
    missing = [name for name, rule in rules.items() if not re.search(rule, header, flags=re.M | re.I)]
    if missing:
        raise CaseError(
            "no-affine",
            f"the header has no {', '.join(missing)}: where the scan lies in the patient is not known",
            path=path,
            hint="Convert the scan again from its DICOM files.",
        )

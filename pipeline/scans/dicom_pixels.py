"""Read the stored values of a DICOM file, compressed or not, and refuse what is not all there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.dicom_elements import number_of, silence, truncated


def read_pixels(path: Path) -> np.ndarray:
    """Return the stored values of a file, shape (frames, rows, columns)."""
    try:
        with silence():
            ds = pydicom.dcmread(path, force=True)
            if not any(key in ds for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
                raise truncated(path, "the header describes an image, but there is no pixel data")
            syntax = _transfer_syntax(ds)
            if syntax.is_compressed:
                _check_decoder(path, syntax)
            else:
                _check_length(path, ds)
            array = ds.pixel_array
            shape = (int(number_of(ds, "NumberOfFrames") or 1), int(ds.Rows), int(ds.Columns))
    except CaseError:
        raise
    except EOFError as error:
        raise truncated(path, "it ends in the middle of an element") from error
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
    frames, bits = int(number_of(ds, "NumberOfFrames") or 1), int(ds.BitsAllocated)
    promised = (int(ds.Rows) * int(ds.Columns) * int(ds.SamplesPerPixel) * frames * bits + 7) // 8
    held = len(ds.PixelData)
    if held < promised:
        raise truncated(path, f"{held} bytes of pixel data where the header promises {promised}")


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

"""What every DICOM object that siamed writes has: its maker, its series, its place in the patient.

Objects name the patient as their source does: they are made to be stored beside it. Neither remarks nor
errors of the libraries get out, both may quote the name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset

from siamed import __version__
from siamed.pipeline.errors import CaseError
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.scans.dicom_elements import silence
from siamed.pipeline.scans.scan import Scan, check_is_dicom

__all__ = ["MANUFACTURER", "MODEL", "SCHEME", "headers_of", "identity", "multi_frame", "save"]

SCHEME = "99SIAMED"
MANUFACTURER, MODEL = "siamed", "siamed, research use only"


@contextlib.contextmanager
def headers_of(scan: Scan) -> Iterator[dict[Path, Dataset]]:
    """Headers of the scan's files, in the order of its slices; what cannot be made of them is a case's end.

    Neither remarks nor errors of the libraries get out: both may quote the patient's name.
    """
    check_is_dicom(scan)
    paths = dict.fromkeys(frame.path for frame in scan.frames)
    try:
        with silence():
            yield {path: pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in paths}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(
            "dicom-not-written",
            f"the headers of the series lack what a DICOM result needs ({type(error).__name__})",
            path=scan.source,
            hint="Run without --dicom, or export the series again with its whole header.",
        ) from error


def identity(series_number: int) -> dict[str, Any]:
    """A series of its own with one object, as arguments of highdicom."""
    return {
        "series_instance_uid": hd.UID(),
        "series_number": series_number,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
    }


def multi_frame(scan: Scan, sources: Mapping[Path, Dataset], shown: np.ndarray) -> dict[str, Any]:
    """What an object of several frames is made from, by what, and where they lie, as arguments of highdicom.

    Args:
        scan: read from DICOM.
        sources: see :func:`headers_of`.
        shown: indices of the slices along K that the object has.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(scan.image.affine, float)
    columns = (lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T.ravel()
    across, down, step = scan.spacing_mm
    first = next(iter(sources.values()))
    return {
        "source_images": [sources[path] for path in dict.fromkeys(scan.frames[k].path for k in shown)],
        "manufacturer_model_name": MODEL,
        "software_versions": __version__,
        "device_serial_number": "0",
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=(down, across),
            slice_thickness=float(first.get("SliceThickness") or step),
            spacing_between_slices=step,
        ),
        "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [float(v) for v in columns]),
        "plane_positions": [
            hd.PlanePositionSequence("PATIENT", [float(v) for v in lps[:3, 3] + int(k) * lps[:3, 2]])
            for k in shown
        ],
    }


def save(dataset: Dataset, description: str, path: Path) -> Path:
    """Write an object, whole or not at all, in a series of this description."""
    dataset.SeriesDescription = description
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, "siamed, private"
    dataset.CodingSchemeIdentificationSequence = [scheme]
    return replace_file(path, partial(dataset.save_as, enforce_file_format=True))

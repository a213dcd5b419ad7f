"""Scans in: find, read and turn MR scans of any common format, by geometry alone.

>>> from siamed.pipeline.scans import find_cases, read_scan, sagittal_view

Axes and units: voxels stay in the file's index order (DICOM: column, row, slice); affines map them to RAS+
mm. Bad data raise :class:`~siamed.pipeline.errors.CaseError`. Importing this package imports neither torch
nor pydicom.
"""

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.discover import Case, find_cases
from siamed.pipeline.scans.sagittal import Plane, check_spine_scan, in_scan_order, plane_of, sagittal_view
from siamed.pipeline.scans.scan import Scan, check_is_dicom, guess_modality, is_ct, read_scan

__all__ = [
    "Case",
    "CaseError",
    "Plane",
    "Scan",
    "check_is_dicom",
    "check_spine_scan",
    "find_cases",
    "in_scan_order",
    "guess_modality",
    "is_ct",
    "plane_of",
    "read_scan",
    "sagittal_view",
]

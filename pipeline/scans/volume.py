"""What every format's reader returns, and the checks that hold for all of them.

Axes: ``array[i, j, k]`` in the file's own index order; ``affine`` maps (i, j, k, 1) to RAS+ mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.sequence import UNKNOWN

# Below 0.05 mm no scan of a living person is made: such a file is microscopy, or was stored in m or cm.
# Above 25 mm a voxel is as long as a lumbar vertebral body is high: there is nothing left to find.
SPACING_LIMITS_MM = (0.05, 25.0)


@dataclass(frozen=True)
class SourceFrame:
    """A slice in its file.

    Args:
        path: the DICOM file.
        index: the frame's place in it, from 0.
    """

    path: Path
    index: int


@dataclass
class Volume:
    """Voxels, geometry and what the file says about them, before ids are made.

    Args:
        array: float32, shape (I, J, K).
        affine: 4x4 float64, voxel index to RAS+ mm.
        modality: DICOM's word ("MR", "CT", ...) or "unknown" where the format has none.
        sequence: see :mod:`siamed.pipeline.scans.sequence`.
        subject: text that stands for the person; becomes a keyed hash, never shown.
        identity: text that stands for the scan; becomes a keyed hash, never shown.
        localizer: the file says it is a localizer.
        notes: what the user should know about how it was read.
        frames: of DICOM, where each slice along K lies.
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str = UNKNOWN
    sequence: str = UNKNOWN
    subject: str = ""
    identity: str = ""
    localizer: bool = False
    notes: list[str] = field(default_factory=list)
    frames: tuple[SourceFrame, ...] = ()


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Return the distance in mm between neighbors along each index axis, shape (3,)."""
    return np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)


def check_volume(array: np.ndarray, affine: np.ndarray) -> None:
    """Refuse a volume that no later step could use.

    Raises:
        CaseError: code ``not-an-image``, ``absurd-spacing``, ``no-affine``, ``non-finite`` or ``constant``.
    """
    if array.ndim != 3 or sorted(array.shape)[1] < 2:
        raise CaseError(
            "not-an-image",
            f"the image has shape {array.shape}; at least two of three axes need two voxels or more",
            hint="Give a scan made of slices.",
        )
    check_affine(affine)
    count = int(array.size - np.isfinite(array).sum())
    if count:
        raise CaseError(
            "non-finite",
            f"{count} of {array.size} voxels are NaN or infinite",
            hint="Export the scan again; a processing step before this one has gone wrong.",
        )
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise CaseError(
            "constant",
            f"all {array.size} voxels have the value {low:g}",
            hint="The file holds no picture; export the scan again.",
        )


def check_affine(affine: np.ndarray) -> None:
    """Refuse an affine that is not finite, not invertible, or absurd in its spacing.

    Raises:
        CaseError: code ``no-affine`` or ``absurd-spacing``.
    """
    if not np.isfinite(affine).all():
        raise CaseError(
            "no-affine",
            "the affine from voxels to mm holds NaN or infinity",
            hint="Convert the scan again from its DICOM files.",
        )
    spacing = spacing_of(affine)
    low, high = SPACING_LIMITS_MM
    if (spacing < low).any() or (spacing > high).any():
        raise CaseError(
            "absurd-spacing",
            f"the voxels measure {_times(spacing)} mm, outside {low:g} to {high:g} mm",
            hint="Check the unit and the spacing in the header; they decide every measure in mm.",
        )
    directions = affine[:3, :3] / spacing
    volume = abs(float(np.linalg.det(directions)))  # 1 for perpendicular axes, 0 for axes in one plane
    if volume < 0.1:
        raise CaseError(
            "no-affine",
            f"the three voxel axes lie nearly in one plane (unit volume {volume:.3g})",
            hint="Convert the scan again from its DICOM files.",
        )


def _times(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)

"""From a scan to the canonical view of the spine, by flips and permutations alone.

Which plane a scan was taken in follows from its spacing and affine: the slice axis is the one along which
voxels are clearly longer than across (or the only one with a single voxel); its normal names the plane. A
volume without such an axis (3-D, nearly isotropic) has no plane of its own and may be viewed in any [D-0012].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.scan import is_ct
from siamed.pipeline.scans.volume import spacing_of

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from siamed.pipeline.scans.scan import Scan

# An axis whose voxels are this many times longer than the next longest is a slice axis.
SLICE_AXIS_RATIO = 1.5
# Beyond 45 degrees a direction is nearer to another axis, and "left" would no longer mean left.
OBLIQUE_LIMIT_DEG = 45.0
_PLANES = ("sagittal", "coronal", "axial")  # by the world axis (x, y, z) nearest to the slice normal
_CODES = {"axial": "axial-series", "coronal": "coronal-series"}


@dataclass(frozen=True)
class Plane:
    """How a scan's slices lie.

    Args:
        name: "sagittal", "coronal", "axial", "oblique" (no world axis within 45 degrees) or "volume".
        slice_axis: index axis across the slices; None for a volume.
        angle_deg: angle between the slice normal and the nearest world axis; 0 for a volume.
    """

    name: str
    slice_axis: int | None
    angle_deg: float


def plane_of(shape: tuple[int, ...], affine: np.ndarray) -> Plane:
    """Return the plane of a scan's slices.

    Args:
        shape: (I, J, K).
        affine: 4x4, voxel index to RAS+ mm.
    """
    spacing = spacing_of(affine)
    singles = [axis for axis in range(3) if shape[axis] == 1]
    order = np.argsort(spacing)
    if len(singles) == 1:
        axis = singles[0]
    elif spacing[order[2]] > SLICE_AXIS_RATIO * spacing[order[1]]:
        axis = int(order[2])
    else:
        return Plane("volume", None, 0.0)
    across = [a for a in range(3) if a != axis]
    normal = np.cross(affine[:3, across[0]], affine[:3, across[1]])
    normal = np.abs(normal / np.linalg.norm(normal))
    nearest = int(np.argmax(normal))
    angle = float(np.degrees(np.arccos(min(1.0, float(normal[nearest])))))
    return Plane("oblique" if angle > OBLIQUE_LIMIT_DEG else _PLANES[nearest], axis, angle)


def sagittal_view(scan: Scan) -> MetaTensor:
    """Return the scan as the spine networks see it: slices, then downward, then backward.

    Flips and permutes, never resamples: each voxel keeps its value and its place in the patient.

    Args:
        scan: an MR scan in sagittal slices, or an MR volume that is nearly isotropic.

    Shape:
        out: (1, D, H, W), orientation "LIP": D grows to the patient's left, H downward, W backward.

    Raises:
        CaseError: code ``not-mr``, ``localizer``, ``axial-series``, ``coronal-series`` or ``oblique-series``.
    """
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    check_spine_scan(scan)
    view = Orientation(axcodes="LIP", labels=None)(scan.image)
    if not isinstance(view, MetaTensor):
        raise TypeError(f"scan.image must be a MetaTensor, got {type(scan.image).__name__}")
    return view


def in_scan_order(view: MetaTensor, scan: Scan) -> MetaTensor:
    """Undo :func:`sagittal_view`: a volume on the view's grid with its axes as the scan's file has them.

    Args:
        view: ``(C, D, H, W)`` with the view's affine.
        scan: what the view was made of.

    Raises:
        ValueError: if the volume is not on the view's grid.
    """
    from monai.data import MetaTensor
    from monai.transforms import Orientation

    turned = Orientation(axcodes=scan.orientation, labels=None)(view)
    if turned.shape[1:] != scan.image.shape[1:]:
        raise ValueError(
            f"view must have the scan's voxels, {list(scan.image.shape[1:])}, got {list(turned.shape[1:])}"
        )
    if not isinstance(turned, MetaTensor):
        raise TypeError(f"view must be a MetaTensor, got {type(view).__name__}")
    return turned


def check_spine_scan(scan: Scan) -> None:
    """Raise what :func:`sagittal_view` raises, without building the view."""
    _check_modality(scan)
    if scan.localizer:
        raise CaseError(
            "localizer",
            "the scan is a localizer, too coarse to grade",
            path=scan.source,
            hint="Give the sagittal T2 series of the study.",
        )
    affine = np.asarray(scan.image.affine, dtype=np.float64)
    plane = plane_of(tuple(scan.image.shape[1:]), affine)
    spacing = " x ".join(f"{s:.3g}" for s in scan.spacing_mm)
    if plane.name in _CODES:
        raise CaseError(
            _CODES[plane.name],
            f"the slices are {plane.name} ({plane.angle_deg:.0f} degrees off, voxels {spacing} mm, axes "
            f"{scan.orientation}); the spine is read in sagittal slices",
            path=scan.source,
            hint="Give the sagittal series of the study.",
        )
    # Every axis must be near enough to the world axis it is named after, those within the slices too.
    directions = affine[:3, :3] / spacing_of(affine)
    named = np.abs(directions).max(axis=0)
    worst = float(np.degrees(np.arccos(min(1.0, float(named.min())))))
    if plane.name == "oblique" or worst > OBLIQUE_LIMIT_DEG:
        raise CaseError(
            "oblique-series",
            f"the voxel axes lie up to {max(worst, plane.angle_deg):.0f} degrees off the patient's axes "
            f"(limit {OBLIQUE_LIMIT_DEG:.0f}); left, down and back cannot be told apart",
            path=scan.source,
            hint="Give a series planned along the spine.",
        )


def _check_modality(scan: Scan) -> None:
    if scan.modality not in ("MR", "unknown"):
        raise CaseError(
            "not-mr",
            f"the scan is {scan.modality}, the spine networks read MR",
            path=scan.source,
            hint="Give an MR scan.",
        )
    if is_ct(scan):
        raise CaseError(
            "not-mr",
            f"the file does not name its modality, and values down to {float(scan.image.min()):g} are those "
            "of a CT",
            path=scan.source,
            hint="Give an MR scan; MR intensities are not Hounsfield units.",
        )

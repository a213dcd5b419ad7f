"""Vertebral bodies, their corners and the sacral plate, read from a spine label map.

SPIDER's masks join a vertebra's body with its posterior elements and leave the sacrum out
[vandergraaf2024spider, Methods]. The detector learns bodies, so they are separated here: what lies anterior
to the spinal canal belongs to the body. The first sacral vertebra (S1) gets its upper plate from the lower
edge of the lowest disc and its lower corners by extrapolation [D-0020].

Conventions: label volumes ``(D, H, W)`` in orientation LIP (slices to the left, rows to inferior, columns to
posterior); points as ``(slice, row, column)`` or ``(row, column)`` in voxels of that grid; spacing in mm in
the same order. Label ids: 1 vertebra, 2 disc, 3 spinal canal. Corners in the order anterior-superior,
posterior-superior, posterior-inferior, anterior-inferior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

__all__ = ["BodyLabel", "corners_of_mask", "separate_bodies", "vertebral_bodies"]

VERTEBRA, DISC, CANAL = 1, 2, 3
_MIN_BODY_AREA_MM2 = 150.0  # a lumbar body covers 700-1200 mm2 in a sagittal slice; less is a lateral sliver
_MIN_BODY_VOLUME_MM3 = 1500.0
_CORNER_DEPTH_MM = 1.5  # pixels this close to the extreme one are averaged: a corner is a place, not a pixel
_S1_HEIGHT, _S1_TAPER = 0.85, 0.70  # of the plate's length: extrapolated S1 body [D-0020]
_CUT_HEIGHT = 0.80  # of the plate's length: a body whose upper part lies beyond the scan [D-0020]


@dataclass
class BodyLabel:
    """One labelled vertebral body.

    Attributes:
        order: 0 for S1, 1 for the body above it, and so on upwards.
        slice_corners: slice index -> ``(4, 2)`` corners as (row, column) in voxels.
        slice_centers: slice index -> ``(2,)`` centroid as (row, column) in voxels.
        sacral: True for S1, whose lower corners are extrapolated.
        partial: True where the body is cut by the upper or lower edge of the image.
    """

    order: int
    slice_corners: dict[int, np.ndarray] = field(default_factory=dict)
    slice_centers: dict[int, np.ndarray] = field(default_factory=dict)
    sacral: bool = False
    partial: bool = False


def _canal_front(label: np.ndarray) -> np.ndarray:
    """Anterior edge of the canal, ``(D, H)`` columns.

    A row without canal takes the nearest slice that shows the canal in that row (in a scoliotic spine no
    slice shows the whole canal); rows without canal in any slice are interpolated along the column.
    """
    canal = label == CANAL
    front = canal.argmax(2).astype(float)
    known = canal.any(2)
    rows = np.flatnonzero(known.any(0))
    if not rows.size:
        return np.full(front.shape, float(label.shape[2]))
    filled = np.empty_like(front)
    for h in rows:
        slices = np.flatnonzero(known[:, h])
        nearest = slices[np.abs(np.arange(len(front))[:, None] - slices[None]).argmin(1)]
        filled[:, h] = front[nearest, h]
    for d in range(len(front)):
        filled[d] = np.interp(np.arange(front.shape[1]), rows, filled[d, rows])
    return ndimage.median_filter(filled, size=(1, 7), mode="nearest")


def separate_bodies(label: np.ndarray) -> np.ndarray:
    """Mask of the vertebral bodies alone: vertebra voxels anterior to the spinal canal.

    Args:
        label: integer label volume ``(D, H, W)``, orientation LIP.

    Returns:
        Boolean volume of the same shape.
    """
    front = _canal_front(label)
    columns = np.arange(label.shape[2])
    bodies = (label == VERTEBRA) & (columns[None, None] < front[:, :, None])
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    return ndimage.binary_opening(bodies, in_plane, iterations=2)


def corners_of_mask(mask: np.ndarray, up: np.ndarray, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """The four corners of a roughly quadrilateral region.

    A corner is where ``+-u/U +- v/V`` is greatest over the region, with u (posterior) and v (superior) the
    coordinates along and across the column and U, V the region's extents, averaged over a small depth.

    Args:
        mask: boolean slice ``(H, W)``.
        up: direction towards the next higher vertebra as (row, column) in mm.
        spacing: (row, column) spacing in mm.

    Returns:
        ``(4, 2)`` corners as (row, column) in voxels: AS, PS, PI, AI.
    """
    points = np.argwhere(mask) * np.asarray(spacing)
    center = points.mean(0)
    up = np.asarray(up, float) / np.linalg.norm(up)
    back = np.array([-up[1], up[0]])  # up = (-1, 0) gives back = (0, -1): anterior; turned below
    if back[1] < 0:
        back = -back
    u, v = (points - center) @ back, (points - center) @ up
    scale_u, scale_v = np.ptp(np.percentile(u, (2, 98))), np.ptp(np.percentile(v, (2, 98)))
    corners = []
    for sign_u, sign_v in ((-1, 1), (1, 1), (1, -1), (-1, -1)):
        value = sign_u * u / scale_u + sign_v * v / scale_v
        near = value >= value.max() - _CORNER_DEPTH_MM / (0.5 * (scale_u + scale_v))
        corners.append(points[near].mean(0) / np.asarray(spacing))
    return np.array(corners)


def _s1_corners(disc: np.ndarray, up: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """S1's corners below the lowest disc: the disc's lower edge, then straight down along the column."""
    _, _, plate_back, plate_front = corners_of_mask(disc, up, spacing) * spacing
    along = plate_back - plate_front
    length = float(np.linalg.norm(along))
    along /= length
    down = np.array([along[1], -along[0]])  # plate along +column -> down is +row
    if down @ np.asarray(up) > 0:
        down = -down
    lower = (plate_front + plate_back) / 2 + _S1_HEIGHT * length * down
    half = 0.5 * _S1_TAPER * length * along
    return np.array([plate_front, plate_back, lower + half, lower - half]) / spacing


def _instances(mask: np.ndarray, spacing: np.ndarray, minimum_mm3: float) -> list[np.ndarray]:
    labels, count = ndimage.label(mask)
    voxel = float(np.prod(spacing))
    sizes = ndimage.sum_labels(mask, labels, np.arange(1, count + 1)) * voxel
    return [labels == i + 1 for i in range(count) if sizes[i] >= minimum_mm3]


def _split_at_discs(
    bodies: list[np.ndarray], discs: list[np.ndarray], spacing: np.ndarray, minimum_mm3: float
) -> list[np.ndarray]:
    """Part bodies that a bony bridge joins: at the plane of a disc that lies between their centers."""
    parted = list(bodies)
    for disc in discs:
        points = np.argwhere(disc) * spacing
        center = points.mean(0)
        normal = np.linalg.eigh(np.cov((points - center).T))[1][:, 0]
        for index, body in enumerate(parted):
            places = np.argwhere(body)
            low, high = np.percentile(places[:, 1] * spacing[1], (20, 80))
            if not low < center[1] < high:
                continue
            side = (places * spacing - center) @ normal > 0
            share = side.mean()
            if min(share, 1 - share) * len(places) * np.prod(spacing) < minimum_mm3 or not 0.2 < share < 0.8:
                continue
            halves = []
            for chosen in (side, ~side):
                half = np.zeros_like(body)
                half[tuple(places[chosen].T)] = True
                halves.append(half)
            parted[index : index + 1] = halves
            break
    return parted


def _slice_regions(instance: np.ndarray, spacing: np.ndarray, minimum_mm2: float) -> dict[int, np.ndarray]:
    """The largest connected region of an instance in each slice, where it is large enough."""
    regions = {}
    for d in np.flatnonzero(instance.any((1, 2))):
        parts, count = ndimage.label(instance[d])
        areas = ndimage.sum_labels(instance[d], parts, np.arange(1, count + 1)) * spacing[1] * spacing[2]
        if areas.max() >= minimum_mm2:
            regions[int(d)] = parts == int(areas.argmax()) + 1
    return regions


def _column_direction(centers: np.ndarray, index: int) -> np.ndarray:
    """Direction to superior (row, column, mm) at a body from its neighbours' centers, sorted downwards."""
    above, below = max(index - 1, 0), min(index + 1, len(centers) - 1)
    if above == below:
        return np.array([-1.0, 0.0])
    return (centers[above] - centers[below])[1:]


def vertebral_bodies(label: np.ndarray, spacing: Sequence[float]) -> list[BodyLabel]:
    """Bodies in a label volume, S1 first, then upwards.

    Args:
        label: integer label volume ``(D, H, W)``, orientation LIP; ids 1 vertebra, 2 disc, 3 canal.
        spacing: (slice, row, column) spacing in mm.

    Returns:
        One :class:`BodyLabel` a body. Empty where the map holds no vertebra.

    Raises:
        ValueError: if the label volume is not three-dimensional.
    """
    if label.ndim != 3:
        raise ValueError(f"label must have 3 dimensions (D, H, W), got shape {label.shape}")
    size = np.asarray(spacing, float)
    discs = _instances(label == DISC, size, 300.0)
    bodies = _instances(separate_bodies(label), size, _MIN_BODY_VOLUME_MM3)
    bodies = _split_at_discs(bodies, discs, size, _MIN_BODY_VOLUME_MM3)
    if not bodies:
        return []
    bodies.sort(key=lambda m: float(np.argwhere(m.any((0, 2))).mean()))
    centers = np.array([ndimage.center_of_mass(m) for m in bodies]) * size
    found: list[BodyLabel] = []
    for index, instance in enumerate(bodies):
        up = _column_direction(centers, index)
        body = BodyLabel(order=len(bodies) - index)
        for d, region in _slice_regions(instance, size, _MIN_BODY_AREA_MM2).items():
            body.slice_corners[d] = corners_of_mask(region, up, size[1:])
            body.slice_centers[d] = np.array(ndimage.center_of_mass(region))
        rows = np.flatnonzero(instance.any((0, 2)))
        body.partial = bool(rows[0] == 0 or rows[-1] == label.shape[1] - 1)
        found.append(body)
    sacral = _sacral_body(discs, found[-1], _column_direction(centers, len(bodies) - 1), size)
    cut = _cut_body(discs, found[0], _column_direction(centers, 0), size)
    return ([sacral] if sacral else []) + found[::-1] + ([cut] if cut else [])


def _row(item: np.ndarray | BodyLabel) -> float:
    """Mean row of a mask or of a body."""
    if isinstance(item, BodyLabel):
        return float(np.mean([c[0] for c in item.slice_centers.values()]))
    return float(np.argwhere(item.any((0, 2))).mean())


def _sacral_body(
    discs: list[np.ndarray], lowest: BodyLabel, up: np.ndarray, size: np.ndarray
) -> BodyLabel | None:
    """S1 below the lowest disc; None where no disc lies below the lowest body."""
    below = [disc for disc in discs if lowest.slice_centers and _row(disc) > _row(lowest)]
    if not below:
        return None
    body = BodyLabel(order=0, sacral=True)
    for d, region in _slice_regions(max(below, key=_row), size, 40.0).items():
        body.slice_corners[d] = _s1_corners(region, _disc_up(region, up, size), size[1:])
        body.slice_centers[d] = body.slice_corners[d].mean(0)
    return body


def _cut_body(
    discs: list[np.ndarray], highest: BodyLabel, up: np.ndarray, size: np.ndarray
) -> BodyLabel | None:
    """The cut body above the highest disc where it has no label: lower plate from the disc."""
    above = [disc for disc in discs if highest.slice_centers and _row(disc) < _row(highest)]
    if not above:
        return None
    body = BodyLabel(order=highest.order + 1, partial=True)
    for d, region in _slice_regions(min(above, key=_row), size, 40.0).items():
        tilt = _disc_up(region, up, size)
        front, back = (corners_of_mask(region, tilt, size[1:]) * size[1:])[:2]
        rise = _CUT_HEIGHT * np.linalg.norm(back - front) * tilt / np.linalg.norm(tilt)
        body.slice_corners[d] = np.array([front + rise, back + rise, back, front]) / size[1:]
        body.slice_centers[d] = body.slice_corners[d].mean(0)
    return body


def _disc_up(region: np.ndarray, up: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The disc's own upward normal: across its long axis (a disc is at least twice as long as high)."""
    points = (np.argwhere(region) - np.argwhere(region).mean(0)) * size[1:]
    normal = np.linalg.eigh(points.T @ points)[1][:, 0]
    return normal if normal @ np.asarray(up) > 0 else -normal

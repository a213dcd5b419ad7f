"""Oriented boxes around vertebral bodies and discs, from their corners: the geometry under the extraction.

Conventions. Images are ``(C, D, H, W)`` in orientation LIP: slices to the patient's Left, rows to Inferior,
columns to Posterior. World points are mm in RAS+; affines map voxel indices ``(d, h, w)`` to them. Corners of
a quadrilateral are ``(4, 3)`` mm in the order anterior-superior (AS), posterior-superior (PS),
posterior-inferior (PI), anterior-inferior (AI), either one set that holds for every slice (projected along
the slice axis) or a mapping slice index -> corners. In-plane vectors are ``(y, x)``: y along the rows' axis
(inferior), x along the columns' axis (posterior), in mm.

Everything here is NumPy, pure and deterministic. Sources: [jamaludin2016spinenet, Disc volume extraction],
[jamaludin2017ssl, Sec. 2.1], [D-0015], [D-0016].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import aff2axcodes

__all__ = [
    "Corners",
    "SagittalBox",
    "box_transform",
    "check_lip_affine",
    "corner_voxels",
    "in_plane_basis",
    "middle_slice_of",
    "nearest_quad",
    "pixels_inside",
    "quad_box",
    "quad_in_slice",
]

Corners = np.ndarray | Mapping[int, np.ndarray]
"""One (4, 3) array in mm for every slice, or slice index -> (4, 3) array in mm."""

_SLICE_TOLERANCE = 1.0  # corners of slice k may lie this many slices from k: rounding, not another grid


@dataclass(frozen=True)
class SagittalBox:
    """A box that lies in the sagittal plane along a vertebral body or a disc.

    Attributes:
        center: ``(2,)`` (row, column) in voxels of the image, sub-pixel.
        posterior: ``(2,)`` unit vector (y, x) in mm: the box's horizontal axis, towards posterior.
        width_mm: mean length of the quadrilateral's upper and lower edge along ``posterior``.
    """

    center: np.ndarray
    posterior: np.ndarray
    width_mm: float


def check_lip_affine(affine: np.ndarray, name: str = "image") -> np.ndarray:
    """The affine as float64, if it is invertible and has orientation LIP.

    Args:
        affine: ``(4, 4)`` voxel -> RAS mm.
        name: the argument's name for the message.

    Returns:
        ``(4, 4)`` float64.

    Raises:
        ValueError: wrong shape, not finite, singular, or another orientation.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4):
        raise ValueError(f"{name}.affine must be 4 x 4, got shape {affine.shape}")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(f"{name}.affine must be finite and invertible, got {affine.tolist()}")
    code = "".join(aff2axcodes(affine))
    if code != "LIP":
        raise ValueError(f"{name} must have orientation LIP (monai.transforms.Orientation), got {code}")
    return affine


def in_plane_basis(affine: np.ndarray) -> np.ndarray:
    """Matrix that maps in-plane voxel offsets (row, column) to mm (y, x) in the slice's plane.

    x runs exactly along the columns' axis, y is perpendicular to it in the plane: a sheared grid stays right.

    Args:
        affine: ``(4, 4)`` voxel -> RAS mm.

    Returns:
        ``(2, 2)`` float64.
    """
    row, column = affine[:3, 1], affine[:3, 2]
    x_axis = column / np.linalg.norm(column)
    y_axis = row - (row @ x_axis) * x_axis
    y_axis /= np.linalg.norm(y_axis)
    return np.array([[row @ y_axis, 0.0], [row @ x_axis, column @ x_axis]])


def corner_voxels(corners_mm: Corners, affine: np.ndarray, name: str) -> dict[int | None, np.ndarray]:
    """Corners in voxels of the image, by slice; the key None stands for every slice.

    Args:
        corners_mm: one set or a mapping, see :data:`Corners`.
        affine: ``(4, 4)`` voxel -> RAS mm.
        name: the argument's name for messages.

    Returns:
        slice index or None -> ``(4, 3)`` voxel coordinates (d, h, w).

    Raises:
        ValueError: wrong shape, NaN or infinity, an empty mapping, or corners that lie in another slice than
            their key says.
    """
    sets: dict[int | None, object] = {}
    if isinstance(corners_mm, Mapping):
        sets.update({int(k): v for k, v in corners_mm.items()})
        if not sets:
            raise ValueError(f"{name} must hold corners for at least one slice, got an empty mapping")
    else:
        sets[None] = corners_mm
    inverse = np.linalg.inv(affine)
    found: dict[int | None, np.ndarray] = {}
    for key, value in sets.items():
        label = name if key is None else f"{name}[{key}]"
        points = np.asarray(value, dtype=np.float64)
        if points.shape != (4, 3):
            raise ValueError(f"{label} must have shape (4, 3): AS, PS, PI, AI in mm; got {points.shape}")
        if not np.isfinite(points).all():
            raise ValueError(f"{label} must be finite, got {points.tolist()}")
        voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
        if key is not None and np.abs(voxels[:, 0] - key).max() > _SLICE_TOLERANCE:
            positions = voxels[:, 0].round(2).tolist()
            raise ValueError(f"{label} must lie in slice {key}, got slice positions {positions}")
        found[key] = voxels
    return found


def middle_slice_of(*corners: dict[int | None, np.ndarray]) -> float:
    """The slice position halfway through the given bodies, not rounded.

    One set of corners counts with its mean slice position, a mapping with the middle of its first and last
    slice; two bodies (a disc's neighbors) count equally.

    Args:
        corners: results of :func:`corner_voxels`.

    Returns:
        Slice position in voxels.
    """
    middles = []
    for sets in corners:
        keys = [k for k in sets if k is not None]
        middles.append((min(keys) + max(keys)) / 2 if keys else float(sets[None][:, 0].mean()))
    return float(np.mean(middles))


def quad_in_slice(corners: dict[int | None, np.ndarray], index: int) -> np.ndarray | None:
    """The quadrilateral in one slice, as (row, column) in voxels.

    Args:
        corners: result of :func:`corner_voxels`.
        index: slice index.

    Returns:
        ``(4, 2)``, or None where a mapping has no corners for this slice.
    """
    found = corners[None] if None in corners else corners.get(index)
    return None if found is None else found[:, 1:]


def nearest_quad(corners: dict[int | None, np.ndarray], index: int) -> np.ndarray:
    """The quadrilateral in one slice, or in the nearest slice that has corners, as (row, column) in voxels.

    Args:
        corners: result of :func:`corner_voxels`.
        index: slice index.

    Returns:
        ``(4, 2)``.
    """
    key = min(corners, key=lambda k: 0 if k is None else abs(k - index))
    return corners[key][:, 1:]


def quad_box(quad: np.ndarray, basis: np.ndarray, name: str) -> SagittalBox:
    """The box along a quadrilateral: its center, its horizontal direction and its width.

    The direction is the mean of the upper edge (AS -> PS) and the lower edge (AI -> PI), so that what lies
    between two endplates of different tilt is laid out symmetrically; the width is that mean's length.

    Args:
        quad: ``(4, 2)`` AS, PS, PI, AI as (row, column) in voxels.
        basis: result of :func:`in_plane_basis`.
        name: the argument's name for messages.

    Returns:
        The :class:`SagittalBox`.

    Raises:
        ValueError: if the width is not above one voxel, or posterior corners lie in front of anterior ones.
    """
    points = quad @ basis.T
    edge = 0.5 * ((points[1] - points[0]) + (points[2] - points[3]))
    width = float(np.linalg.norm(edge))
    smallest = float(basis.diagonal().max())
    if width <= smallest:
        raise ValueError(f"{name} must be wider than one voxel ({smallest:.3f} mm), got width {width:.3f} mm")
    if edge[1] <= 0:
        raise ValueError(
            f"{name} must be in the order AS, PS, PI, AI, posterior corners behind anterior ones; got an "
            f"edge from anterior to posterior of (inferior {edge[0]:.2f}, posterior {edge[1]:.2f}) mm"
        )
    return SagittalBox(center=quad.mean(0), posterior=edge / width, width_mm=width)


def box_transform(
    box: SagittalBox,
    basis: np.ndarray,
    middle_slice: int,
    spatial_size: tuple[int, int, int],
    width_fraction: float,
    slice_step: int = 1,
) -> np.ndarray:
    """Voxel transform of an extracted volume: its index (slice, row, column) -> index in the image.

    The pixel is ``s = width_mm / (width_fraction * W)`` mm in both in-plane directions. The middle slice
    lands on index ``D // 2``, the box's center on ``((H - 1) / 2, (W - 1) / 2)``. Slices map to slices: the
    first row of the matrix holds whole numbers.

    Args:
        box: the box.
        basis: result of :func:`in_plane_basis`.
        middle_slice: slice index of the image that becomes the middle.
        spatial_size: (D, H, W) of the volume.
        width_fraction: share of W that the box's width takes, above 0.
        slice_step: every n-th slice is taken.

    Returns:
        ``(4, 4)`` float64. ``image_affine @ result`` is the volume's affine.
    """
    depth, height, width = spatial_size
    pixel_mm = box.width_mm / (width_fraction * width)
    y, x = box.posterior
    axes_mm = pixel_mm * np.array([[x, y], [-y, x]])  # columns: the volume's row axis (inferior), column axis
    in_plane = np.linalg.solve(basis, axes_mm)
    matrix = np.eye(4)
    matrix[0, 0] = slice_step
    matrix[0, 3] = middle_slice - slice_step * (depth // 2)
    matrix[1:3, 1:3] = in_plane
    matrix[1:3, 3] = box.center - in_plane @ np.array([(height - 1) / 2, (width - 1) / 2])
    return matrix


def pixels_inside(quad: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose centers lie inside a quadrilateral (even-odd rule), within the image.

    Args:
        quad: ``(4, 2)`` (row, column) in voxels, in order around the shape.
        shape: (H, W) of the image.

    Returns:
        Row indices and column indices, int64, both ``(n,)``; empty where nothing lies inside.
    """
    low = np.maximum(np.ceil(quad.min(0)), 0).astype(int)
    high = np.minimum(np.floor(quad.max(0)), np.array(shape) - 1).astype(int)
    if (high < low).any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.arange(low[0], high[0] + 1)[:, None]
    columns = np.arange(low[1], high[1] + 1)[None, :]
    inside = np.zeros((rows.size, columns.size), dtype=bool)
    for (r0, c0), (r1, c1) in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        if r0 == r1:
            continue
        crosses = (rows >= min(r0, r1)) & (rows < max(r0, r1))
        inside ^= crosses & (columns < c0 + (rows - r0) / (r1 - r0) * (c1 - c0))
    found = np.nonzero(inside)
    return found[0] + low[0], found[1] + low[1]

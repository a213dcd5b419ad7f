"""Put DICOM frames in order and derive the affine, from positions alone.

Instance numbers, file names and slice thickness play no part: the position of each frame along the normal
``n = row direction x column direction`` gives the order, the line through the positions the spacing between
slices [dicom PS3.3, C.7.6.2.1.1; D-0011]. Nothing is repaired: a stack that is not complete, unique and even
is refused with the positions that show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamed.pipeline.errors import CaseError

# Two frames nearer than this along the normal are the same slice: decimal strings round well below it.
SAME_POSITION_MM = 0.01
# How far a slice may lie from where an even stack puts it. Exports round positions to 0.1 mm or finer.
UNEVEN_LIMIT_MM = 0.1
UNEVEN_LIMIT_SHARE = 0.03
# Directions within half a degree are the same: decimal strings, not planes, differ by so little.
SAME_DIRECTION_COSINE = float(np.cos(np.deg2rad(0.5)))
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Frame:
    """One slice as its header describes it; lengths in mm, vectors in DICOM's LPS frame, None = not given."""

    path: Path
    index: int
    rows: int
    columns: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    pixel_spacing: np.ndarray | None
    slope: float = 1.0
    intercept: float = 0.0
    thickness: float | None = None
    echo_time_ms: float | None = None
    image_type: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """Frames in slice order with the affine (4x4, index (column, row, slice) to RAS+ mm)."""

    frames: tuple[Frame, ...]
    affine: np.ndarray
    notes: tuple[str, ...] = ()


def normal_of(orientation: np.ndarray) -> np.ndarray:
    """Return the unit normal of a plane from its six direction cosines (LPS)."""
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def stack_frames(frames: Sequence[Frame]) -> Stack:
    """Order the frames of one series and derive their affine.

    Args:
        frames: at least one, in any order.

    Returns:
        The stack; slices ascend along the normal (row direction x column direction), so the affine is
        right-handed in LPS as well as in RAS+.

    Raises:
        CaseError: code ``no-position``, ``no-pixel-spacing``, ``invalid-orientation``, ``mixed-sizes``,
            ``mixed-orientations``, ``mixed-spacing``, ``4-d``, ``duplicate-slices``, ``missing-slices`` or
            ``uneven-gaps``.
    """
    places, orientations, spacings = _geometry(frames)
    _check_alike(frames, orientations, spacings)
    orientation, spacing = orientations[0], spacings[0]
    normal = normal_of(orientation)
    along = places @ normal
    order = np.argsort(along, kind="stable")
    ordered = tuple(frames[i] for i in order)
    along, positions = along[order], places[order]
    notes: list[str] = []
    if len(ordered) == 1:
        thickness = ordered[0].thickness or 0.0
        step = normal * (thickness if thickness > 0 else 1.0)
        notes.append(
            f"one slice; its extent across is the slice thickness, {thickness:g} mm"
            if thickness > 0
            else "one slice without a thickness; its extent across is taken as 1 mm"
        )
    else:
        _check_unique(ordered, along)
        step = _check_even(positions, along)
        tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1.0, 1.0))))
        if tilt > 0.5:
            notes.append(f"the slices are stacked {tilt:.1f} degrees off their normal; the affine is sheared")
    affine = np.eye(4)
    affine[:3, 0] = _RAS_FROM_LPS @ orientation[:3] * spacing[1]
    affine[:3, 1] = _RAS_FROM_LPS @ orientation[3:] * spacing[0]
    affine[:3, 2] = _RAS_FROM_LPS @ step
    affine[:3, 3] = _RAS_FROM_LPS @ positions[0]
    return Stack(ordered, affine, tuple(notes))


def _geometry(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions (N, 3), orientations (N, 6) and pixel spacings (N, 2), once every frame has them."""
    total = len(frames)
    placed = [
        (f.position, f.orientation) for f in frames if f.position is not None and f.orientation is not None
    ]
    if len(placed) < total:
        raise CaseError(
            "no-position",
            f"{total - len(placed)} of {total} slices have no Image Position or Image Orientation (Patient)",
            hint="Export the original series; without them nobody knows where a slice lies in the patient.",
        )
    spacings = [f.pixel_spacing for f in frames if f.pixel_spacing is not None]
    if len(spacings) < total:
        raise CaseError(
            "no-pixel-spacing",
            f"{total - len(spacings)} of {total} slices have no Pixel Spacing above 0",
            hint="Export the original series; screenshots and secondary captures carry no size in mm.",
        )
    orientations = np.array([orientation for _, orientation in placed])
    for orientation in orientations:
        _check_orientation(orientation)
    return np.array([position for position, _ in placed]), orientations, np.array(spacings)


def _check_orientation(orientation: np.ndarray) -> None:
    row, column = orientation[:3], orientation[3:]
    lengths, cosine = np.linalg.norm([row, column], axis=1), float(row @ column)
    if np.abs(lengths - 1.0).max() > 0.01 or abs(cosine) > 0.01:
        raise CaseError(
            "invalid-orientation",
            f"Image Orientation (Patient) {orientation.round(4).tolist()} must be two unit vectors at "
            f"a right angle; lengths {lengths[0]:.3f} and {lengths[1]:.3f}, cosine {cosine:.3f}",
            hint="Export the original series; this header has been changed.",
        )


def _check_alike(frames: Sequence[Frame], orientations: np.ndarray, spacings: np.ndarray) -> None:
    sizes = Counter((f.columns, f.rows) for f in frames)
    if len(sizes) > 1:
        raise CaseError(
            "mixed-sizes",
            "one series holds slices of unlike size (columns x rows): " + _counts(sizes, "{0[0]} x {0[1]}"),
            hint="Export the sizes as series of their own.",
        )
    groups: list[tuple[np.ndarray, int]] = []
    for orientation in orientations:
        for n, (known, count) in enumerate(groups):
            if min(known[:3] @ orientation[:3], known[3:] @ orientation[3:]) >= SAME_DIRECTION_COSINE:
                groups[n] = (known, count + 1)
                break
        else:
            groups.append((orientation, 1))
    if len(groups) > 1:
        listed = "; ".join(f"{count} facing {normal_of(o).round(3).tolist()}" for o, count in groups[:4])
        raise CaseError(
            "mixed-orientations",
            f"one series holds slices of {len(groups)} orientations: {listed}",
            hint="It may be a localizer; give a series whose slices are parallel.",
        )
    if (spacings.max(axis=0) / spacings.min(axis=0)).max() > 1.001:
        low, high = spacings.min(axis=0), spacings.max(axis=0)
        raise CaseError(
            "mixed-spacing",
            f"Pixel Spacing differs within one series: {low.tolist()} to {high.tolist()} mm",
            hint="Export the parts as series of their own.",
        )


def _check_unique(ordered: Sequence[Frame], along: np.ndarray) -> None:
    steps = np.diff(along)
    if (steps >= SAME_POSITION_MM).all():
        return
    places = 1 + int((steps >= SAME_POSITION_MM).sum())
    label = np.concatenate([[0], np.cumsum(steps >= SAME_POSITION_MM)])
    counts = np.bincount(label)
    total = len(ordered)
    if (counts == counts[0]).all():
        echoes = sorted({f.echo_time_ms for f in ordered if f.echo_time_ms is not None})
        kinds = sorted({"/".join(f.image_type[2:3]) for f in ordered if len(f.image_type) > 2})
        raise CaseError(
            "4-d",
            f"one series holds {total} frames at {places} places, {counts[0]} at each (echo times "
            f"{[round(e, 2) for e in echoes]} ms, image types {kinds})",
            hint="Export each echo, time point or image type as a series of its own.",
        )
    twice = along[np.concatenate([[False], steps < SAME_POSITION_MM])]
    raise CaseError(
        "duplicate-slices",
        f"one series holds {total} slices at {places} places; more than one lies at "
        f"{_listed(np.unique(twice.round(2)))} mm along the normal",
        hint="Remove the copies or export the series again.",
    )


def _check_even(positions: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return the step from slice to slice (LPS mm), or raise if the stack has gaps or is uneven."""
    total = len(along)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    limit = max(UNEVEN_LIMIT_MM, UNEVEN_LIMIT_SHARE * usual)
    wide = np.flatnonzero(gaps > 1.5 * usual)
    whole = np.round(gaps / usual)
    if len(wide) and (np.abs(gaps - whole * usual) <= limit * np.maximum(whole, 1)).all():
        missing = int((whole[wide] - 1).sum())
        raise CaseError(
            "missing-slices",
            f"{missing} slices are missing: {total} slices {usual:.3g} mm apart, with gaps of "
            f"{_listed(gaps[wide])} mm after {_listed(along[wide])} mm along the normal",
            hint="Export the whole series.",
        )
    step = (positions[-1] - positions[0]) / (total - 1)
    off = np.linalg.norm(positions - (positions[0] + np.arange(total)[:, None] * step), axis=1)
    if off.max() > limit:
        raise CaseError(
            "uneven-gaps",
            f"{total} slices are unevenly spaced: gaps from {gaps.min():.3g} to {gaps.max():.3g} mm, a slice "
            f"lies {off.max():.3g} mm from its place in an even stack (limit {limit:.2g} mm)",
            hint="Export the original series; slices of several groups cannot be one volume.",
        )
    return step


def _counts(counter: Counter, pattern: str) -> str:
    return ", ".join(f"{n} of {pattern.format(key)}" for key, n in counter.most_common(4))


def _listed(values: np.ndarray, most: int = 5) -> str:
    shown = ", ".join(f"{float(v):.4g}" for v in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")

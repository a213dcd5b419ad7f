"""The page of one segmented scan: volumes, three planes with outlines, and the surface from the front.

Pictures are drawn in the canonical axes (D to the feet, H to the back, W to the patient's left), in mm: the
patient's right is on the left of axial and coronal pictures, as radiologists look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from siamed.pipeline.report.png import data_uri

if TYPE_CHECKING:
    from siamed.pipeline.kidneys.reader import KidneyReading

__all__ = ["render_kidneys"]

_AXES = "IPL"
_WINDOW_HU = (-160.0, 300.0)
_PERCENTILES = (1.0, 99.5)
_LONGEST = 320  # pixels of a picture's longer side
_SIDES = {1: "right", 2: "left"}


@dataclass(frozen=True)
class Outline:
    """One closed line around a kidney; ``points`` as SVG wants them, mm."""

    side: str
    points: str


@dataclass(frozen=True)
class Plane:
    """One slice with its outlines."""

    title: str
    uri: str
    width_mm: float
    height_mm: float
    outlines: tuple[Outline, ...] = ()


def render_kidneys(reading: KidneyReading, written: datetime | None = None) -> str:
    """Return the page as HTML.

    Args:
        reading: from :class:`~siamed.pipeline.kidneys.reader.KidneyReader`.
        written: the time that the page names; now where None.
    """
    from siamed.pipeline.report.page import template

    values, labels, spacing = _canonical(reading)
    return template("kidneys.html.j2").render(
        result=reading.result,
        schema=reading.result.SCHEMA,
        planes=_planes(values, labels, spacing),
        surface=_surface(labels, spacing),
        written=(written or datetime.now(timezone.utc)).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _canonical(reading: KidneyReading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensities and labels ``(D, H, W)``, and their spacing in mm."""
    import nibabel

    affine = np.asarray(reading.scan.image.affine, float)
    values = np.asarray(reading.scan.image.as_tensor()[0])
    wanted = nibabel.orientations.axcodes2ornt(_AXES)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted)
    turned, labels = (nibabel.orientations.apply_orientation(a, turn) for a in (values, reading.labels))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(turn[:, 0])]
    return turned, labels, spacing


def _gray(picture: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities in 8 bits."""
    low, high = window
    return (255 * (picture - low) / max(high - low, 1e-6)).clip(0, 255).astype(np.uint8)


def _planes(values: np.ndarray, labels: np.ndarray, spacing: np.ndarray) -> list[Plane]:
    """The axial and the coronal slice that show most of both kidneys, a sagittal one through each."""
    low, high = _WINDOW_HU
    if values.min() >= low:  # no Hounsfield units
        low, high = (float(v) for v in np.percentile(values[::4, ::4, ::4], _PERCENTILES))
    inside = labels > 0
    axial, coronal = int(inside.sum((1, 2)).argmax()), int(inside.sum((0, 2)).argmax())
    chosen = [("Axial", 0, axial), ("Coronal", 1, coronal)]
    for label, side in _SIDES.items():
        if (labels == label).any():
            chosen.append((f"Sagittal, {side} kidney", 2, int((labels == label).sum((0, 1)).argmax())))
    return [
        _plane(title, _gray(values.take(index, axis), (low, high)), labels.take(index, axis), spacing, axis)
        for title, axis, index in chosen
    ]


def _plane(title: str, picture: np.ndarray, shown: np.ndarray, spacing: np.ndarray, axis: int) -> Plane:
    rows_mm, columns_mm = np.delete(spacing, axis)
    step = max(1, int(np.ceil(max(picture.shape) / _LONGEST)))
    outlines = tuple(
        Outline(side, points)
        for label, side in _SIDES.items()
        for points in _outlines(shown == label, float(rows_mm), float(columns_mm))
    )
    height, width = picture.shape[0] * rows_mm, picture.shape[1] * columns_mm
    thinned = np.ascontiguousarray(picture[::step, ::step])
    return Plane(title, data_uri(thinned), float(width), float(height), outlines)


def _outlines(mask: np.ndarray, rows_mm: float, columns_mm: float) -> list[str]:
    from skimage.measure import find_contours

    lines = find_contours(np.pad(mask, 1).astype(float), 0.5)
    return [
        " ".join(f"{(column - 0.5) * columns_mm:.1f},{(row - 0.5) * rows_mm:.1f}" for row, column in line)
        for line in lines
    ]


def _surface(labels: np.ndarray, spacing: np.ndarray) -> Plane:
    """What is seen from the front, lit from the upper left of the picture."""
    inside = labels > 0
    seen = inside.any(1)
    depth = np.where(seen, inside.argmax(1) * spacing[1], np.nan)
    filled = np.where(seen, depth, np.nanmax(depth))
    down, across = np.gradient(filled, spacing[0], spacing[2])
    normal = np.stack([-down, -across, np.ones_like(down)])
    light = np.array([0.4, 0.4, 0.82])
    shade = np.einsum("i,ijk->jk", light, normal / np.linalg.norm(normal, axis=0)).clip(0, 1)
    picture = np.where(seen, 60 + 190 * shade, 0).astype(np.uint8)
    rows, columns = np.nonzero(seen)
    box = np.s_[max(rows.min() - 2, 0) : rows.max() + 3, max(columns.min() - 2, 0) : columns.max() + 3]
    cut = np.ascontiguousarray(picture[box])
    return Plane(
        "Surface from the front",
        data_uri(cut),
        float(cut.shape[1] * spacing[2]),
        float(cut.shape[0] * spacing[0]),
    )

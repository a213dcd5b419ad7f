"""The pictures of a report: slices with outlines, and the crops of discs.

Everything is drawn in the sagittal plane in mm: x grows to posterior (right), y downward; pixel (h, w) of the
view has its center at ``((w + 0.5) * spacing_w, (h + 0.5) * spacing_h)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamed.pipeline.report.png import data_uri, heat_uri

if TYPE_CHECKING:
    from siamed.pipeline.detection.vertebra import Vertebra
    from siamed.pipeline.spine import SpineReading

__all__ = [
    "DiscPicture",
    "HotspotPicture",
    "Outline",
    "SlicePicture",
    "disc_picture",
    "hotspot_pictures",
    "intensity_window",
    "middle_slice",
    "region_of",
    "slice_of_disc",
    "slice_picture",
    "strip",
]

MAIN_PIXELS = 640  # longest side of the large picture, in pixels of the data
STRIP_PIXELS = 256
STRIP_LENGTH = 6
_REGION = (112, 224)  # rows, columns of a disc's picture: that of its volume without a margin
_WINDOW_PERCENT = (0.5, 98.5)  # fluid and fat may turn white: bone and discs are what is looked at
_SAMPLE_STEP = 3  # percentiles from every third pixel: the same to the eye, nine times as fast


@dataclass(frozen=True)
class Outline:
    """One body or disc in a slice.

    Args:
        points: its corners, as SVG wants them.
        name: what is written at it.
        x: where, mm.
        y: where, mm.
        kind: "body" or "disc".
        borrowed: the outline is that of another slice; this one does not show the body.
        partial: the body is cut by the edge of the scan.
        grade: Pfirrmann grade of a disc, which colors it; None where it has none.
    """

    points: str
    name: str
    x: float
    y: float
    kind: str
    borrowed: bool = False
    partial: bool = False
    grade: int | None = None


@dataclass(frozen=True)
class SlicePicture:
    """One sagittal slice with what was found in it; ``number`` counts slices as the input file does."""

    number: int
    uri: str
    width_mm: float
    height_mm: float
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class DiscPicture:
    """A disc's middle slice and its neighbors to the right and to the left, None where there is none."""

    middle: str
    right: str | None
    left: str | None


@dataclass(frozen=True)
class HotspotPicture:
    """Where the evidence of one grade of a disc lies.

    Args:
        task: the grade's name.
        overlays: (slice of the disc volume, heat overlay) for each slice that the network sees.
        place: where it is strongest, in words.
    """

    task: str
    overlays: tuple[tuple[int, str], ...]
    place: str


def middle_slice(reading: SpineReading) -> int:
    """Return the canonical slice that lies in the middle of most bodies."""
    return int(np.median([v.middle_slice for v in reading.column.vertebrae]))


def strip(reading: SpineReading, length: int = STRIP_LENGTH) -> list[int]:
    """Return canonical slices spread evenly over the bodies, the middle one left out."""
    first = min(v.slices[0] for v in reading.column.vertebrae)
    last = max(v.slices[1] for v in reading.column.vertebrae)
    others = [d for d in range(first, last + 1) if d != middle_slice(reading)]
    if len(others) <= length:
        return others
    return [others[i] for i in np.linspace(0, len(others) - 1, length).round().astype(int)]


def intensity_window(reading: SpineReading) -> tuple[float, float]:
    """Return the intensities that become black and white, one pair for all slices of a scan."""
    volume = np.asarray(reading.view.as_tensor()[0])
    low, high = np.percentile(volume[:, ::_SAMPLE_STEP, ::_SAMPLE_STEP], _WINDOW_PERCENT)
    return float(low), float(high)


def slice_picture(
    reading: SpineReading, index: int, pixels: int, window: tuple[float, float], borrow: bool = False
) -> SlicePicture:
    """Draw one slice.

    Args:
        reading: what was found.
        index: canonical slice.
        pixels: longest side of the picture; a larger slice is averaged down.
        window: intensities that become black and white.
        borrow: show bodies that this slice misses with their outline from the nearest slice that has them.
    """
    affine = np.asarray(reading.view.affine, float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[1:]
    gray = np.asarray(reading.view.as_tensor()[0, index], np.float32)
    step = -(-max(gray.shape) // pixels)
    small = _shrink(gray, step)
    height_mm, width_mm = np.asarray(small.shape) * step * spacing
    return SlicePicture(
        number=reading.slice_numbers[index],
        uri=data_uri(_bytes(small, *window)),
        width_mm=round(float(width_mm), 3),
        height_mm=round(float(height_mm), 3),
        outlines=_outlines(reading, index, np.linalg.inv(affine), spacing, borrow),
    )


def disc_picture(volume: np.ndarray) -> DiscPicture:
    """Draw a disc from its volume ``(D, H, W)`` in [0, 1]; D grows to the patient's left."""
    center = volume.shape[0] // 2

    def draw(index: int) -> str | None:
        inside = 0 <= index < volume.shape[0] and bool(volume[index].any())
        return slice_of_disc(volume, index) if inside else None

    return DiscPicture(slice_of_disc(volume, center), draw(center - 1), draw(center + 1))


def slice_of_disc(volume: np.ndarray, index: int) -> str:
    """Draw one slice of a disc's volume ``(D, H, W)`` in [0, 1]."""
    return data_uri(_bytes(volume[index], 0.0, 1.0))


def region_of(volume: np.ndarray) -> np.ndarray:
    """The papers' region, 112 x 224, of a disc's volume or map ``(..., H, W)`` with a margin around it."""
    top, left = ((n - s) // 2 for n, s in zip(volume.shape[-2:], _REGION, strict=True))
    return volume[..., top : top + _REGION[0], left : left + _REGION[1]]


def hotspot_pictures(tasks: tuple[str, ...], maps: np.ndarray) -> tuple[HotspotPicture, ...]:
    """Draw the hotspots of one disc, each task's scaled to its own maximum.

    Args:
        tasks: T names.
        maps: ``(T, D, H, W)``, smoothed, on the grid of the disc's picture.
    """
    seen = [d for d in range(maps.shape[1]) if maps[:, d].any()]
    pictures = []
    for task, own in zip(tasks, maps, strict=True):
        peak = np.unravel_index(int(own.argmax()), own.shape)
        overlays = tuple((d, heat_uri(_bytes(own[d], 0.0, float(own.max())))) for d in seen)
        pictures.append(HotspotPicture(task, overlays, _place(int(peak[1]), int(peak[2]))))
    return tuple(pictures)


def _place(row: int, column: int) -> str:
    """A point of a disc's picture in words; the disc takes half of the picture's width."""
    third = (column / _REGION[1] - 0.5) * 4 * 3  # -3 at the disc's front, 3 at its back
    along = ("in front of the disc", "in its front third", "in its middle third", "in its back third")
    where = along[int(np.digitize(third, [-3, -1, 1]))] if third < 3 else "behind the disc"
    across = row - _REGION[0] / 2
    height = "at mid-height" if abs(across) <= _REGION[0] / 12 else "above" if across < 0 else "below"
    return f"{where}, {height}" if height == "at mid-height" else f"{where}, {height} mid-height"


def _outlines(
    reading: SpineReading, index: int, inverse: np.ndarray, spacing: np.ndarray, borrow: bool
) -> tuple[Outline, ...]:
    quads: list[np.ndarray | None] = []
    found: list[Outline] = []
    for number, vertebra in enumerate(reading.column.vertebrae):
        corners, borrowed = _corners(vertebra, index, borrow)
        quad = None if corners is None else _plane(corners, inverse, spacing)
        quads.append(quad)
        if quad is not None:
            x, y = quad.mean(0)
            name = vertebra.level or str(number + 1)
            found.append(Outline(_points(quad), name, x, y, "body", borrowed, vertebra.partial))
    for disc, said in zip(reading.column.discs, reading.result.discs, strict=True):
        upper, lower = quads[disc.upper], quads[disc.lower]
        if upper is None or lower is None:
            continue
        quad = np.stack([upper[3], upper[2], lower[1], lower[0]])
        x, y = quad[[0, 3]].mean(0)
        pfirrmann = said.grades.get("pfirrmann")
        grade = None if pfirrmann is None else pfirrmann.grade
        name = "" if grade is None else str(grade)
        found.append(Outline(_points(quad), name, x, y, "disc", grade=grade))
    return tuple(found)


def _corners(vertebra: Vertebra, index: int, borrow: bool) -> tuple[np.ndarray | None, bool]:
    known = vertebra.slice_corners_mm
    if index in known:
        return np.asarray(known[index], float), False
    first, last = vertebra.slices
    if not borrow and not first <= index <= last:
        return None, False
    return np.asarray(known[min(known, key=lambda d: abs(d - index))], float), True


def _plane(corners_mm: np.ndarray, inverse: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Corners in mm RAS -> (x, y) in the picture, ``(4, 2)``."""
    voxels = corners_mm @ inverse[:3, :3].T + inverse[:3, 3]
    return (voxels[:, [2, 1]] + 0.5) * spacing[[1, 0]]


def _points(quad: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in quad)


def _shrink(gray: np.ndarray, step: int) -> np.ndarray:
    """Average blocks of ``step`` x ``step`` pixels; the last ones are filled up with the picture's edge."""
    if step == 1:
        return gray
    padded = np.pad(gray, [(0, -n % step) for n in gray.shape], mode="edge")
    rows, columns = (n // step for n in padded.shape)
    return padded.reshape(rows, step, columns, step).mean((1, 3))


def _bytes(gray: np.ndarray, low: float, high: float) -> np.ndarray:
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.clip((gray - low) * scale, 0, 255).round().astype(np.uint8)

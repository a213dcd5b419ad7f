"""Drawing soft-edged shapes on slices: signed distances in mm, painted one over the other.

Conventions: points are (row, column) in mm of the slice, 0 at the middle of the first pixel. A signed
distance is negative inside. An edge is blurred over one pixel, as a scanner's point spread does.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Canvas", "Window", "coverage", "ellipse_distance", "quad_distance"]


class Window:
    """The part of a slice around a shape, and its coordinates in the shape's own frame.

    Args:
        center: (row, column) in mm.
        tilt: radians; the frame's second axis points along (-sin, cos): positive raises the posterior end.
        radius_mm: half the side of the window.
        size: rows and columns of the slice.
        spacing_mm: between rows, between columns.

    Attributes:
        box: the two slices that cut the window out of a ``(H, W)`` array.
        along: ``(h, w)`` mm from the center, growing inferior along the frame.
        across: ``(h, w)`` mm from the center, growing posterior along the frame.
    """

    def __init__(
        self,
        center: np.ndarray,
        tilt: float,
        radius_mm: float,
        size: tuple[int, int],
        spacing_mm: tuple[float, float],
    ) -> None:
        low = [max(0, int(np.floor((c - radius_mm) / s))) for c, s in zip(center, spacing_mm, strict=True)]
        high = [
            max(lo, min(n, int(np.ceil((c + radius_mm) / s)) + 1))
            for lo, c, s, n in zip(low, center, spacing_mm, size, strict=True)
        ]
        self.box = (slice(low[0], high[0]), slice(low[1], high[1]))
        rows = (np.arange(low[0], high[0]) * spacing_mm[0] - center[0]).astype(np.float32)[:, None]
        columns = (np.arange(low[1], high[1]) * spacing_mm[1] - center[1]).astype(np.float32)[None]
        self.along = rows * np.float32(np.cos(tilt)) + columns * np.float32(np.sin(tilt))
        self.across = columns * np.float32(np.cos(tilt)) - rows * np.float32(np.sin(tilt))


def quad_distance(
    window: Window,
    height: float,
    width: float,
    lower_width: float,
    waist: float,
    dish: float,
    rounding: float = 0.4,
) -> np.ndarray:
    """Signed distance to a vertebral body's outline: a trapezoid with hollow sides and plates.

    Args:
        window: in the frame of the body, center in its middle.
        height: between the plates, mm.
        width: of the upper plate, mm.
        lower_width: of the lower plate, mm.
        waist: depth of the hollow in front and behind, mm.
        dish: depth of the hollow in the plates, mm.
        rounding: of the corners, mm.

    Returns:
        ``(h, w)`` mm, exact near the edges and away from the corners.
    """
    share = window.along / height + 0.5
    half = 0.5 * (width + (lower_width - width) * share)
    sides = np.abs(window.across) - half + waist * np.clip(1 - (2 * window.along / height) ** 2, 0, 1)
    plates = np.abs(window.along) - height / 2 + dish * np.clip(1 - (2 * window.across / width) ** 2, 0, 1)
    top = np.maximum(sides, plates)
    # A soft maximum rounds the corners: log(exp(a) + exp(b)), kept stable by taking the larger one out.
    return top + rounding * np.log1p(np.exp(-np.abs(sides - plates) / rounding))


def ellipse_distance(window: Window, half_along: float, half_across: float) -> np.ndarray:
    """Signed distance to an ellipse, to first order: exact on its edge and on its axes' ends."""
    radius = np.hypot(window.along / half_along, window.across / half_across)
    slope = np.hypot(window.along / half_along**2, window.across / half_across**2)
    return (radius - 1) * radius / np.maximum(slope, 1e-3)


def coverage(distance_mm: np.ndarray, softness_mm: float) -> np.ndarray:
    """Share of a pixel that lies inside, 0-1, for its signed distance and the width of the blurred edge."""
    share = np.float32(0.5) - distance_mm * np.float32(1 / softness_mm)
    return np.clip(share, 0, 1, out=share)


class Canvas:
    """One slice being painted: values and labels.

    Args:
        size: rows and columns.
        spacing_mm: between rows, between columns.
    """

    def __init__(self, size: tuple[int, int], spacing_mm: tuple[float, float]) -> None:
        self.image = np.zeros(size, np.float32)
        self.label = np.zeros(size, np.uint8)
        self.softness_mm = max(0.8, *spacing_mm)

    def paint(
        self,
        box: tuple[slice, slice],
        distance_mm: np.ndarray,
        value: float | np.ndarray,
        opacity: float = 1.0,
        label: int | None = None,
    ) -> None:
        """Lay a shape over what is there.

        Args:
            box: where on the slice.
            distance_mm: ``(h, w)`` signed distance of the shape.
            value: brightness inside, one number or ``(h, w)``.
            opacity: 0-1; less than 1 where the slice is only partly filled by the shape.
            label: id written where the shape covers more than half of the pixel; None leaves the labels.
        """
        if opacity <= 0:
            return
        share = coverage(distance_mm, self.softness_mm) * np.float32(opacity)
        part = self.image[box]
        part += share * (value - part)
        if label is not None:
            self.label[box][share > 0.5] = label

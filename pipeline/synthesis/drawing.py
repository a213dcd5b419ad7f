"""Shapes on a grid of millimeters, by which a body is drawn: tubes, ellipsoids, smooth fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

__all__ = ["Grid", "smooth_field"]


class Grid:
    """A volume of cubic voxels in the canonical axes: D to the feet, H to the back, W to the patient's left.

    Args:
        shape: (D, H, W).
        spacing_mm: edge of a voxel.
    """

    def __init__(self, shape: Sequence[int], spacing_mm: float) -> None:
        self.shape, self.spacing = tuple(int(n) for n in shape), float(spacing_mm)
        self.d, self.h, self.w = (
            np.arange(n, dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(3)]) * self.spacing
            for axis, n in enumerate(self.shape)
        )

    def empty(self) -> np.ndarray:
        """A mask that holds nothing."""
        return np.zeros(self.shape, bool)

    def ellipsoid(self, center: Sequence[float], radii: Sequence[float] | np.ndarray) -> np.ndarray:
        """Mask of an ellipsoid; center and radii in mm along D, H, W."""
        parts = zip((self.d, self.h, self.w), center, radii, strict=True)
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in parts)
        return np.asarray(inside) <= 1

    def tube(self, points: np.ndarray, radius_mm: float) -> np.ndarray:
        """Mask of all that is within a radius of a line through points ``(N, 3)`` mm, no farther apart than
        the radius."""
        places = np.rint(np.asarray(points) / self.spacing).astype(int)
        margin = int(np.ceil(radius_mm / self.spacing)) + 1
        low = np.clip(places.min(0) - margin, 0, self.shape)
        high = np.clip(places.max(0) + margin + 1, 0, self.shape)
        mask = self.empty()
        if (low >= high).any():
            return mask
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        away = np.ones(high - low, bool)
        kept = places[((places >= low) & (places < high)).all(1)] - low
        if len(kept):
            away[tuple(kept.T)] = False
            mask[box] = ndimage.distance_transform_edt(away) * self.spacing <= radius_mm
        return mask

    def walk(
        self, rng: np.random.Generator, start: Sequence[float], length_mm: float, bend: float
    ) -> np.ndarray:
        """Points of a path that turns at random, ``(N, 3)`` mm, a voxel apart."""
        count = max(2, int(length_mm / self.spacing))
        turns = np.cumsum(rng.normal(0, bend, (count, 3)), axis=0) + rng.normal(0, 1, 3)
        steps = turns / np.linalg.norm(turns, axis=1, keepdims=True) * self.spacing
        return np.asarray(start) + np.cumsum(steps, axis=0)


def smooth_field(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> np.ndarray:
    """A random field of unit variance, as smooth as ``sigma`` voxels, ``shape`` float32."""
    coarse = max(1, int(sigma // 2))
    small = [int(np.ceil(n / coarse)) + 1 for n in shape]
    field = ndimage.gaussian_filter(rng.standard_normal(small, np.float32), sigma / coarse)
    field = ndimage.zoom(field, coarse, order=1)[tuple(slice(0, n) for n in shape)]
    return field / max(float(field.std()), 1e-6)

"""A view of a sagittal slice at one spacing: resampled image, label map and vertebra corners.

The detector works on slices at one in-plane spacing whatever the scanner's [D-0021]. In training the view is
drawn at random (rotation, zoom, field of view, facing), in validation it is fixed. Image, label map and
points go through the same affine, once.

Conventions: slices ``(C, H, W)``, H to inferior and W to posterior; points as (row, column) in pixels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional

__all__ = ["RandVertebraViewd", "VertebraView", "ViewParameters", "view_affine"]


@dataclass(frozen=True)
class ViewParameters:
    """Where a view looks: rotation in degrees, zoom (above 1 enlarges), center in mm, facing."""

    angle_deg: float = 0.0
    zoom: float = 1.0
    center_mm: tuple[float, float] = (0.0, 0.0)
    flip: bool = False


def view_affine(
    view: ViewParameters, size: tuple[int, int], view_spacing_mm: float, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Affine from view pixels to source pixels, homogeneous ``(3, 3)`` over (row, column, 1)."""
    angle = np.deg2rad(view.angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([1.0, -1.0 if view.flip else 1.0])
    linear = np.diag(1 / np.asarray(spacing_mm)) @ rotation @ mirror * (view_spacing_mm / view.zoom)
    middle = (np.asarray(size) - 1) / 2
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = np.asarray(view.center_mm) / np.asarray(spacing_mm) - linear @ middle
    return affine


class VertebraView:
    """Resample a slice, its label map and its points into a view. Deterministic given the parameters.

    Args:
        size: (rows, columns) of the view in pixels.
        view_spacing_mm: pixel size of the view at zoom 1.
    """

    def __init__(self, size: tuple[int, int], view_spacing_mm: float) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.view_spacing_mm = float(view_spacing_mm)

    def image(self, image: torch.Tensor, affine: np.ndarray, mode: str = "bilinear") -> torch.Tensor:
        """Resample ``(C, H, W)`` to ``(C, *size)`` by an affine of :func:`view_affine`; outside is zero."""
        rows, columns = image.shape[-2:]
        to_unit = np.array([[2 / rows, 0, 1 / rows - 1], [0, 2 / columns, 1 / columns - 1], [0, 0, 1]])
        from_unit = np.array(
            [
                [self.size[0] / 2, 0, (self.size[0] - 1) / 2],
                [0, self.size[1] / 2, (self.size[1] - 1) / 2],
                [0, 0, 1],
            ]
        )
        theta = (to_unit @ affine @ from_unit)[:2]
        theta = theta[::-1][:, [1, 0, 2]].copy()  # torch wants (x, y) = (column, row)
        grid = functional.affine_grid(
            torch.as_tensor(theta, dtype=torch.float32)[None], [1, 1, *self.size], align_corners=False
        )
        source = image.as_subclass(torch.Tensor).float()[None]
        return functional.grid_sample(source, grid, mode=mode, padding_mode="zeros", align_corners=False)[0]

    @staticmethod
    def points(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Map points ``(..., 2)`` from source pixels to view pixels."""
        inverse = np.linalg.inv(affine)
        return points @ inverse[:2, :2].T + inverse[:2, 2]


class RandVertebraViewd(MapTransform, Randomizable):
    """Draw a view of a slice for training, or take the fixed one for validation.

    Input keys besides image and label: ``corners`` ``(N, 4, 2)`` in source pixels and ``spacing_mm`` (row,
    column).
    Output: corners in view pixels, and ``seen_corners``, the same after clipping to the source image.

    Args:
        keys: image key, then label key.
        size: (rows, columns) of the view.
        view_spacing_mm: pixel size of the view in mm.
        angle_deg: rotation is drawn from +- this.
        zoom: (low, high), drawn log-uniformly.
        shift_mm: the center moves +- this from the middle of the labelled column.
        flip_prob: probability of mirroring the facing of the patient.
        random: False gives the fixed view centered on the slice.

    Randomness: angle, zoom, shift, flip, drawn with ``self.R``.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        size: tuple[int, int],
        view_spacing_mm: float,
        angle_deg: float = 0.0,
        zoom: tuple[float, float] = (1.0, 1.0),
        shift_mm: tuple[float, float] = (0.0, 0.0),
        flip_prob: float = 0.0,
        random: bool = True,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.view = VertebraView(size, view_spacing_mm)
        self.angle_deg, self.zoom, self.shift_mm = angle_deg, zoom, shift_mm
        self.flip_prob, self.random = flip_prob, random

    def draw(self, data: Mapping[Hashable, Any]) -> ViewParameters:
        """Draw the parameters for one item."""
        spacing = np.asarray(data["spacing_mm"], float)
        shape = np.asarray(data[self.keys[0]].shape[-2:])
        if not self.random:
            return ViewParameters(center_mm=tuple((shape - 1) / 2 * spacing))
        corners = np.asarray(data["corners"], float).reshape(-1, 2)
        low, high = (corners.min(0), corners.max(0)) if len(corners) else (0 * shape, shape)
        extent = high[0] - low[0]  # any height of the column, so that all levels are seen whole and cut
        along = self.R.uniform(low[0] + 0.2 * extent, high[0] - 0.2 * extent)
        middle = np.array([along, (low[1] + high[1]) / 2]) * spacing
        shift = self.R.uniform(-1, 1, 2) * self.shift_mm
        log_low, log_high = np.log(self.zoom)
        return ViewParameters(
            angle_deg=float(self.R.uniform(-1, 1) * self.angle_deg),
            zoom=float(np.exp(self.R.uniform(log_low, log_high))),
            center_mm=tuple(middle + shift),
            flip=bool(self.R.rand() < self.flip_prob),
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        affine = view_affine(
            self.draw(data), self.view.size, self.view.view_spacing_mm, tuple(data["spacing_mm"])
        )
        image, label = self.keys
        result[image] = self.view.image(data[image], affine)
        result[label] = self.view.image(data[label], affine, mode="nearest")
        corners = np.asarray(data["corners"], float).reshape(-1, 4, 2)
        last = np.asarray(data[image].shape[-2:]) - 1
        result["corners"] = self.view.points(corners, affine)
        result["seen_corners"] = self.view.points(np.clip(corners, 0, last), affine)
        return result

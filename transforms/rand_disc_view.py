"""Random view of a disc crop: rotation, translation, scaling, intensity, in one resampling.

The augmentation of SpineNet [jamaludin2016spinenet, Data augmentation] for crops that were cut with a
margin: the view moves within the crop, so that no border of zeros tells where the disc was. In-plane only;
slices are channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional

__all__ = ["DiscView", "RandDiscViewd", "apply_disc_view"]


@dataclass(frozen=True)
class DiscView:
    """Drawn parameters; shifts in pixels of the crop, intensities times ``1 + gain`` plus ``offset``."""

    angle_deg: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    scale: float = 1.0
    gain: float = 0.0
    offset: float = 0.0


def apply_disc_view(
    crop: torch.Tensor, view: DiscView, field_px: Sequence[int], size: Sequence[int]
) -> torch.Tensor:
    """Look at a crop.

    Args:
        crop: ``(D, H, W)``, larger than the field.
        view: where to look.
        field_px: (rows, columns) of the crop that the view covers at scale 1.
        size: (rows, columns) of the result.

    Returns:
        ``(D, *size)`` float32; bilinear, zero outside the crop. Deterministic.
    """
    rows, columns = crop.shape[-2:]
    turn = np.deg2rad(view.angle_deg)
    half_x, half_y = (
        0.5 * field_px[1] * view.scale,
        0.5 * field_px[0] * view.scale,
    )  # crop pixels a unit of the view
    theta = torch.tensor(
        [
            [
                2 / columns * np.cos(turn) * half_x,
                -2 / columns * np.sin(turn) * half_y,
                2 / columns * view.shift_x_px,
            ],
            [2 / rows * np.sin(turn) * half_x, 2 / rows * np.cos(turn) * half_y, 2 / rows * view.shift_y_px],
        ],
        dtype=torch.float32,
    )
    grid = functional.affine_grid(theta[None], [1, crop.shape[0], *size], align_corners=False)
    seen = functional.grid_sample(crop.float()[None], grid, padding_mode="zeros", align_corners=False)[0]
    return seen * (1 + view.gain) + view.offset


class RandDiscViewd(MapTransform, Randomizable):
    """Draw a :class:`DiscView` for each item and apply it.

    Args:
        keys: crops ``(1, D, H, W)``.
        field_px: (rows, columns) of the crop that a view covers.
        size: (rows, columns) of the result.
        angle_deg: rotation is drawn from +- this.
        shift_x_px: along the disc, +- this in crop pixels.
        shift_y_px: across the disc.
        scale: +- this about 1.
        intensity: gain and offset are each drawn from +- this.
        random: False gives the centered view.

    Randomness: six parameters, drawn with ``self.R``.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        field_px: Sequence[int],
        size: Sequence[int],
        angle_deg: float = 0.0,
        shift_x_px: float = 0.0,
        shift_y_px: float = 0.0,
        scale: float = 0.0,
        intensity: float = 0.0,
        random: bool = True,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.field_px, self.size = tuple(field_px), tuple(size)
        self.angle_deg, self.shift_x_px, self.shift_y_px = angle_deg, shift_x_px, shift_y_px
        self.scale, self.intensity, self.random = scale, intensity, random

    def draw(self) -> DiscView:
        """Draw the parameters of one item."""
        if not self.random:
            return DiscView()
        u = self.R.uniform(-1, 1, 6)
        return DiscView(
            angle_deg=float(u[0] * self.angle_deg),
            shift_x_px=float(u[1] * self.shift_x_px),
            shift_y_px=float(u[2] * self.shift_y_px),
            scale=float(1 + u[3] * self.scale),
            gain=float(u[4] * self.intensity),
            offset=float(u[5] * self.intensity),
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, view = dict(data), self.draw()
        for key in self.key_iterator(result):
            result[key] = apply_disc_view(result[key][0], view, self.field_px, self.size)[None]
        return result

"""Random view of a volume: rotation, translation, scaling, intensity, flip of the slices; one resampling.

The augmentation of both papers: [jamaludin2016spinenet, Data augmentation] for discs and
[jamaludin2017ssl, Sec. 3.2] for pairs of vertebral bodies. Volumes may be cut with a margin around the region
that a view covers, so that it moves within the scan and no border of zeros tells where the body was.
Rotation, scale and shift are in plane; slices are channels of one bilinear resampling and are shifted and
flipped whole, as acquired.

Parameters are drawn first and applied afterwards: one drawing can be logged, shared, inverted, and applied
item by item in a data loader or to a batch where it lies.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional

__all__ = ["RandVolumeViewd", "VolumeView", "apply_volume_view", "apply_volume_views", "invert_volume_view"]

_CACHED = 500_000  # pixels that a processor core takes at a time: a larger batch leaves its cache


@dataclass(frozen=True)
class VolumeView:
    """Where to look, in pixels of the volume, and what becomes of the intensities.

    A point at (x, y) from the middle of the view, in units of the field, is seen at
    ``scale * R(angle) (x, y) + shift`` from the middle of the volume. Slice d of the view is slice
    ``d + shift_slices`` of the volume, counted from the other side where ``flip``. Intensities are multiplied
    by ``1 + gain``, then ``offset`` is added; padding slices as well.
    """

    angle_deg: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    scale: float = 1.0
    gain: float = 0.0
    offset: float = 0.0
    shift_slices: int = 0
    flip: bool = False


def apply_volume_views(
    volumes: torch.Tensor, views: Sequence[VolumeView], field_px: Sequence[int], size: Sequence[int]
) -> torch.Tensor:
    """Look at each volume of a batch through its view, on the batch's device.

    Args:
        volumes: ``(B, D, H, W)``.
        views: B of them.
        field_px: (rows, columns) of the volume that a view covers at scale 1.
        size: (rows, columns) of the result.

    Returns:
        ``(B, D, *size)`` float32; bilinear, zero outside the volume. Deterministic.

    Raises:
        ValueError: if the numbers of volumes and views differ.
    """
    if volumes.ndim != 4 or len(volumes) != len(views):
        raise ValueError(
            f"volumes must be (B, D, H, W) with one of {len(views)} views each, got {tuple(volumes.shape)}"
        )
    few = max(1, _CACHED // max(1, volumes[:1].numel())) if volumes.device.type == "cpu" else len(views)
    if len(views) > few:
        parts = [slice(start, start + few) for start in range(0, len(views), few)]
        return torch.cat([apply_volume_views(volumes[p], views[p], field_px, size) for p in parts])
    matrices = np.stack([_matrix(view, field_px) for view in views]) if views else np.zeros((0, 2, 3))
    sharp = _slices_of(volumes, views).float()
    seen = _sample(sharp, matrices, field_px, size)
    if any(view.gain or view.offset for view in views):
        gain, offset = (
            torch.tensor([getattr(view, name) for view in views], dtype=torch.float32, device=seen.device)
            for name in ("gain", "offset")
        )
        seen.flatten(1).mul_((1 + gain)[:, None]).add_(offset[:, None])
    return seen


def apply_volume_view(
    volume: torch.Tensor, view: VolumeView, field_px: Sequence[int], size: Sequence[int]
) -> torch.Tensor:
    """Look at one volume ``(D, H, W)``; see :func:`apply_volume_views`."""
    return apply_volume_views(volume[None], [view], field_px, size)[0]


def invert_volume_view(
    seen: torch.Tensor, view: VolumeView, field_px: Sequence[int], volume_size: Sequence[int]
) -> torch.Tensor:
    """Bring maps drawn on a view back onto the volume; intensities are left alone.

    Args:
        seen: ``(..., D, h, w)`` on the view's grid.
        view: the view it was seen through.
        field_px: as the view was applied.
        volume_size: (rows, columns) of the volume.

    Returns:
        ``(..., D, *volume_size)`` float32; zero where the view did not look.
    """
    matrix = _matrix(view, field_px)
    back = np.linalg.inv(matrix[:, :2])
    # From pixels of the volume about its middle to units of the view, which is the sampled image here.
    units = np.array([[2 / field_px[1]], [2 / field_px[0]]])
    there = np.concatenate([back, -back @ matrix[:, 2:]], axis=1) * units
    half = np.array([volume_size[1] / 2, volume_size[0] / 2])
    theta = np.concatenate([there[:, :2] * half, there[:, 2:]], axis=1)
    grid = functional.affine_grid(
        torch.tensor(theta[None], dtype=torch.float32), [1, 1, *volume_size], align_corners=False
    )
    channels = seen.float().reshape(1, -1, *seen.shape[-2:])
    flat = functional.grid_sample(channels, grid.to(seen.device), padding_mode="zeros", align_corners=False)
    maps = flat.view(*seen.shape[:-2], *volume_size)
    indices, inside = _slice_indices(view, seen.shape[-3])
    result = torch.zeros_like(maps)
    result[..., indices[inside], :, :] = maps[..., inside, :, :]
    return result


def _matrix(view: VolumeView, field_px: Sequence[int]) -> np.ndarray:
    """``(2, 3)``: (x, y, 1) in pixels of the field about its middle -> pixels of the volume about its own."""
    if not view.scale > 0:
        raise ValueError(f"scale must be above 0, got {view.scale}")
    turn = np.deg2rad(view.angle_deg)
    cos, sin = view.scale * np.cos(turn), view.scale * np.sin(turn)
    return np.array([[cos, -sin, view.shift_x_px], [sin, cos, view.shift_y_px]])


def _sample(
    volumes: torch.Tensor, matrices: np.ndarray, field_px: Sequence[int], size: Sequence[int]
) -> torch.Tensor:
    rows, columns = volumes.shape[-2:]
    # torch's grids run from -1 to 1 on both sides.
    fields = np.array([0.5 * field_px[1], 0.5 * field_px[0], 1.0])
    theta = matrices * fields * np.array([[2 / columns], [2 / rows]])
    theta = torch.as_tensor(theta, dtype=torch.float32, device=volumes.device)
    # An affine grid is a row plus a column: several times as fast as affine_grid's product of matrices.
    down, across = (_centers(count, volumes.device) for count in size)
    grid = torch.empty(len(volumes), *size, 2, device=volumes.device)
    for axis in range(2):
        along, aside, shift = theta[:, axis, :, None].unbind(1)
        torch.add((along * across)[:, None], (aside * down + shift)[:, :, None], out=grid[..., axis])
    return functional.grid_sample(volumes, grid, padding_mode="zeros", align_corners=False)


def _centers(count: int, device: torch.device) -> torch.Tensor:
    """Centers of so many pixels between -1 and 1."""
    return (2 * torch.arange(count, dtype=torch.float32, device=device) + 1) / count - 1


def _slice_indices(view: VolumeView, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slice of the volume that each slice of the view shows, and whether there is one."""
    indices = torch.arange(count) + view.shift_slices
    inside = (indices >= 0) & (indices < count)
    return (count - 1 - indices if view.flip else indices), inside


def _slices_of(volumes: torch.Tensor, views: Sequence[VolumeView]) -> torch.Tensor:
    if not any(view.shift_slices or view.flip for view in views):
        return volumes
    chosen = [_slice_indices(view, volumes.shape[1]) for view in views]
    count = volumes.shape[1]
    rows = torch.cat([n * count + indices.clamp(0, count - 1) for n, (indices, _) in enumerate(chosen)])
    outside = torch.cat([~kept for _, kept in chosen]).nonzero()[:, 0]
    # Whole slices by their place in the batch: copied and filled slice by slice, not pixel by pixel.
    moved = volumes.flatten(0, 1).index_select(0, rows.to(volumes.device))
    return moved.index_fill_(0, outside.to(volumes.device), 0).view_as(volumes)


class RandVolumeViewd(MapTransform, Randomizable):
    """Draw a :class:`VolumeView` for each volume of an item and apply it.

    Args:
        keys: volumes ``(M, D, H, W)``: one volume, or the two of a pair. Each has a view of its own; the flip
            is drawn once for all [jamaludin2017ssl, Sec. 3.2].
        field_px: (rows, columns) of a volume that a view covers.
        size: (rows, columns) of the result ``(M, D, *size)``.
        angle_deg: rotation is drawn from +- this.
        shift_x_px: along the body or disc, +- this in pixels of the volume.
        shift_y_px: across it.
        scale: +- this about 1.
        intensity: gain and offset are each drawn from +- this.
        shift_slices: whole slices, +- this.
        flip: chance of a flip of the slices, patient's left for right.
        random: False gives the centered view.

    Randomness: drawn with ``self.R``, in the order of the arguments.
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
        shift_slices: int = 0,
        flip: float = 0.0,
        random: bool = True,
    ) -> None:
        MapTransform.__init__(self, keys)
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be a chance in [0, 1], got {flip}")
        if not 0 <= scale < 1:
            raise ValueError(f"scale must lie in [0, 1), got {scale}")
        self.field_px, self.size = tuple(field_px), tuple(size)
        self.angle_deg, self.shift_x_px, self.shift_y_px = angle_deg, shift_x_px, shift_y_px
        self.scale, self.intensity, self.random = scale, intensity, random
        self.shift_slices, self.flip = int(shift_slices), float(flip)

    def draw(self, count: int = 1) -> list[VolumeView]:
        """Draw the views of the ``count`` volumes of one item."""
        if not self.random:
            return [VolumeView()] * count
        flip = bool(self.flip and self.R.random_sample() < self.flip)
        return [self._draw(flip) for _ in range(count)]

    def _draw(self, flip: bool) -> VolumeView:
        u = self.R.uniform(-1, 1, 6)
        slices = self.R.randint(-self.shift_slices, self.shift_slices + 1) if self.shift_slices else 0
        return VolumeView(
            angle_deg=float(u[0] * self.angle_deg),
            shift_x_px=float(u[1] * self.shift_x_px),
            shift_y_px=float(u[2] * self.shift_y_px),
            scale=float(1 + u[3] * self.scale),
            gain=float(u[4] * self.intensity),
            offset=float(u[5] * self.intensity),
            shift_slices=int(slices),
            flip=flip,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, views = dict(data), None
        for key in self.key_iterator(result):
            views = self.draw(len(result[key])) if views is None else views
            result[key] = apply_volume_views(result[key], views, self.field_px, self.size)
        return result

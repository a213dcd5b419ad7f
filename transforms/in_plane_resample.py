"""One resampling inside the slices: each output slice is one input slice under an in-plane map.

Slices become channels of one ``grid_sample``, so nothing is mixed across slices and each pixel is
interpolated once [D-0017]. Where the output pixel is larger than the input's, several points a pixel are
sampled and averaged (a box filter over the pixel): still one interpolation of the input, without aliasing.

Conventions: images ``(C, D, H, W)``; transforms ``(4, 4)`` float64 map output indices to input indices, with
whole numbers in the slice row; outside the input lies zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["paste_in_plane", "resample_in_plane", "samples_per_pixel", "source_slices"]


def source_slices(transform: np.ndarray, depth: int, source_depth: int) -> list[int | None]:
    """Which input slice each output slice shows, None where it lies beyond the input's ends.

    Args:
        transform: ``(4, 4)`` output index -> input index.
        depth: number of output slices.
        source_depth: number of input slices.

    Returns:
        ``depth`` entries; None also where an output slice falls between input slices (inverse with a step).
    """
    found: list[int | None] = []
    for index in range(depth):
        position = transform[0, 0] * index + transform[0, 3]
        nearest = round(position)
        on_slice = abs(position - nearest) < 1e-6 and 0 <= nearest < source_depth
        found.append(int(nearest) if on_slice else None)
    return found


def samples_per_pixel(transform: np.ndarray) -> int:
    """Sampling points along each side of an output pixel: neighbors are at most one input pixel apart.

    Args:
        transform: ``(4, 4)`` output index -> input index.

    Returns:
        1 where the output is at least as fine as the input.
    """
    step = float(np.linalg.norm(transform[1:3, 1:3], ord=2))
    return max(1, int(np.ceil(step - 1e-3)))


def _sampling_grid(
    transform: np.ndarray, size: Sequence[int], shape: Sequence[int], samples: int
) -> np.ndarray:
    """Normalized sampling points for ``align_corners=False``, ``(samples * H, samples * W, 2)`` as (x, y)."""
    rows = (np.arange(size[0] * samples) + 0.5) / samples - 0.5
    columns = (np.arange(size[1] * samples) + 0.5) / samples - 0.5
    grid = np.empty((rows.size, columns.size, 2))
    for axis, target in ((1, 1), (2, 0)):
        by_row, by_column, start = transform[axis, 1:]
        position = by_row * rows[:, None] + by_column * columns[None] + start
        grid[..., target] = (2 * position + 1) / shape[axis - 1] - 1
    return grid


def resample_in_plane(
    image: torch.Tensor,
    transforms: Sequence[np.ndarray],
    size: tuple[int, int, int],
    mode: str = "bilinear",
    antialias: bool = True,
    keep: Sequence[Sequence[int] | None] | None = None,
) -> torch.Tensor:
    """Cut one or several volumes out of an image, each slice from one slice.

    Args:
        image: ``(C, D, H, W)`` floating point.
        transforms: N matrices ``(4, 4)``, output index -> input index.
        size: (D, H, W) of every output.
        mode: "bilinear" or "nearest", of ``torch.nn.functional.grid_sample``.
        antialias: average several points a pixel where the output is coarser than the input (bilinear only).
        keep: for each output, the input slices (first, last) that may appear; others stay zero. None: all.

    Returns:
        ``(N, C, D, H, W)``, dtype and device of ``image``. Zero outside the image.
    """
    channels, source_depth, *shape = image.shape
    out = image.new_zeros((len(transforms), channels, *size))
    groups: dict[tuple, list[int]] = {}
    plans = []
    for n, transform in enumerate(transforms):
        slices = source_slices(transform, size[0], source_depth)
        if keep is not None and keep[n] is not None:
            first, last = keep[n]  # type: ignore[misc]
            slices = [s if s is not None and first <= s <= last else None for s in slices]
        samples = samples_per_pixel(transform) if antialias and mode == "bilinear" else 1
        plans.append(slices)
        groups.setdefault((tuple(slices), samples), []).append(n)
    for (slices, samples), members in groups.items():
        shown = [(i, s) for i, s in enumerate(slices) if s is not None]
        if not shown:
            continue
        targets, sources = (list(t) for t in zip(*shown, strict=True))
        grid = np.stack([_sampling_grid(transforms[n], size[1:], shape, samples) for n in members])
        points = torch.from_numpy(grid).to(device=image.device, dtype=image.dtype)
        stack = _take_slices(image, sources).reshape(1, -1, *shape).expand(len(members), -1, -1, -1)
        cut = F.grid_sample(stack, points, mode=mode, padding_mode="zeros", align_corners=False)
        if samples > 1:
            cut = F.avg_pool2d(cut, samples)
        cut = cut.reshape(len(members), channels, len(sources), *size[1:])
        out[torch.tensor(members)[:, None], :, torch.tensor(targets)[None]] = cut.transpose(1, 2)
    return out


def _take_slices(image: torch.Tensor, slices: list[int]) -> torch.Tensor:
    """A view where the slices are consecutive, a copy otherwise."""
    if slices == list(range(slices[0], slices[0] + len(slices))):
        return image[:, slices[0] : slices[0] + len(slices)]
    return image[:, slices]


def paste_in_plane(
    volume: torch.Tensor,
    transform: np.ndarray,
    size: tuple[int, int, int],
    mode: str = "bilinear",
    antialias: bool = True,
    keep: Sequence[int] | None = None,
) -> torch.Tensor:
    """The way back: a volume on the grid it was cut from, zero where it does not reach.

    Only the rectangle of the image that the volume covers is computed.

    Args:
        volume: ``(C, D, H, W)`` floating point.
        transform: ``(4, 4)`` volume index -> image index, as it was cut.
        size: (D, H, W) of the image.
        mode: "bilinear" or "nearest".
        antialias: average several points a pixel where the image is coarser than the volume.
        keep: image slices (first, last) that may receive the volume; None for all.

    Returns:
        ``(C, *size)``, dtype and device of ``volume``.
    """
    out = volume.new_zeros((volume.shape[0], *size))
    height, width = volume.shape[2:]
    ends = np.array([[i, j] for i in (-1, height) for j in (-1, width)], dtype=float)
    reach = ends @ transform[1:3, 1:3].T + transform[1:3, 3]
    low = np.maximum(np.floor(reach.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(reach.max(0)) + 1, size[1:]).astype(int)
    if (high <= low).any():
        return out
    shift = np.eye(4)
    shift[1:3, 3] = low
    back = np.linalg.inv(transform) @ shift
    part = resample_in_plane(volume, [back], (size[0], *(high - low).tolist()), mode, antialias)[0]
    if keep is not None:
        part[:, : max(keep[0], 0)] = 0
        part[:, keep[1] + 1 :] = 0
    out[:, :, low[0] : high[0], low[1] : high[1]] = part
    return out

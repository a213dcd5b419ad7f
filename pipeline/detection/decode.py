"""From the detector's maps to bodies in a slice.

A body is a peak of a center heatmap. Its corners are the offsets predicted around the peak, averaged with the
heatmap as weight, then moved to the sub-pixel maximum of the corner's own heatmap where that is close by
[D-0021].

Conventions: points as (row, column) in pixels of the view the network saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from siamed.transforms.vertebra_targets import (
    CENTERS,
    CORNERS,
    OFFSET_UNIT_PX,
    OFFSETS,
    PARTIAL,
    SACRAL,
    TISSUES,
)

__all__ = ["DecodeSettings", "SliceBody", "decode_slice", "decode_slices"]


@dataclass(frozen=True)
class DecodeSettings:
    """Thresholds of the decoder, chosen on validation folds [D-0021].

    Attributes:
        min_score: a peak lower than this is no body.
        nms_px: two peaks closer than this are one body.
        refine_px: a corner moves to its heatmap's maximum within this distance.
        refine_score: only where that maximum is at least this high.
        offset_radius_px: offsets are averaged over this radius around the peak.
    """

    min_score: float = 0.3
    nms_px: float = 9.0
    refine_px: int = 5
    refine_score: float = 0.15
    offset_radius_px: int = 3


@dataclass(frozen=True)
class SliceBody:
    """One body in one slice.

    Attributes:
        corners: ``(4, 2)`` (row, column).
        score: height of its center peak, 0-1.
        sacral: share of the S1 map in the odds at the peak, 0-1.
        partial: the same share of the map of cut bodies, 0-1.
    """

    corners: np.ndarray
    score: float
    sacral: float
    partial: float

    @property
    def center(self) -> np.ndarray:
        return self.corners.mean(0)


def _refine(heat: np.ndarray, corner: np.ndarray, settings: DecodeSettings) -> np.ndarray:
    """Sub-pixel maximum of a corner heatmap near a predicted corner, or the corner itself."""
    r = settings.refine_px
    row, column = (int(round(v)) for v in corner)
    top, left = max(row - r, 0), max(column - r, 0)
    window = heat[top : max(row + r + 1, 0), left : max(column + r + 1, 0)]
    if window.size == 0 or float(window.max()) < settings.refine_score:
        return corner
    peak = np.array(np.unravel_index(int(window.argmax()), window.shape))
    low = np.maximum(peak - 2, 0)
    part = window[low[0] : peak[0] + 3, low[1] : peak[1] + 3]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in part.shape), indexing="ij"), -1)
    weight = part / part.sum()
    return (grid * weight[..., None]).sum((0, 1)) + low + (top, left)


def decode_slice(maps: np.ndarray, settings: DecodeSettings) -> list[SliceBody]:
    """Bodies of one slice from its maps.

    Args:
        maps: ``(19, H, W)`` with heatmaps already through the sigmoid.
        settings: thresholds.

    Returns:
        Bodies by falling score.
    """
    centers = maps[CENTERS]
    best = centers.max(0)
    size = 2 * int(settings.nms_px // 2) + 1
    pooled = functional.max_pool2d(torch.from_numpy(best)[None, None], size, 1, size // 2)[0, 0].numpy()
    peaks = np.argwhere((best == pooled) & (best >= settings.min_score))
    peaks = peaks[np.argsort(-best[tuple(peaks.T)], kind="stable")]
    bodies: list[SliceBody] = []
    for row, column in peaks:
        r = settings.offset_radius_px
        window = (slice(max(row - r, 0), row + r + 1), slice(max(column - r, 0), column + r + 1))
        weight = best[window] / best[window].sum()
        first = (window[0].start, window[1].start)
        grid = np.indices(weight.shape) + np.reshape(first, (2, 1, 1))
        offsets = maps[OFFSETS][:, window[0], window[1]].reshape(4, 2, *weight.shape) * OFFSET_UNIT_PX
        corners = ((offsets + grid[None]) * weight).sum((2, 3))
        corners = np.array([_refine(h, c, settings) for h, c in zip(maps[CORNERS], corners, strict=True)])
        if any(np.linalg.norm(b.center - corners.mean(0)) < settings.nms_px for b in bodies):
            continue
        evidence = centers[:, row, column] / np.clip(
            1 - centers[:, row, column], 1e-3, None
        )  # odds tell more apart
        total = float(evidence.sum()) or 1.0
        shares = evidence / total
        bodies.append(
            SliceBody(corners, float(best[row, column]), float(shares[SACRAL]), float(shares[PARTIAL]))
        )
    return bodies


def decode_slices(output: torch.Tensor, settings: DecodeSettings) -> list[list[SliceBody]]:
    """Bodies of each slice from the raw network output ``(D, 19, H, W)``."""
    maps = output.detach().float().cpu().clone()
    maps[:, : TISSUES.start - 8] = maps[:, : TISSUES.start - 8].sigmoid()
    return [decode_slice(m, settings) for m in maps.numpy()]

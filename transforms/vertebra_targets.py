"""Training targets of the vertebra detector, drawn from corners.

Channel layout, shared with the network's output [D-0021]:

======== ================================================================
0        center of a whole vertebral body (heatmap)
1        center of S1
2        center of a partly visible body
3-6      corners AS, PS, PI, AI (heatmaps)
7-14     offsets from a pixel near a center to the four corners, as (row, column) pairs, in units of 10 px
15-18    tissue scores: background, vertebra, disc, canal
======== ================================================================
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

__all__ = [
    "CENTERS",
    "CHANNELS",
    "CORNERS",
    "OFFSETS",
    "OFFSET_UNIT_PX",
    "TISSUES",
    "VertebraTargetsd",
    "draw_targets",
]

CENTERS, CORNERS, OFFSETS, TISSUES = slice(0, 3), slice(3, 7), slice(7, 15), slice(15, 19)
CHANNELS = 19
OFFSET_UNIT_PX = 10.0
WHOLE, SACRAL, PARTIAL = 0, 1, 2


def _gaussian(size: tuple[int, int], center: np.ndarray, sigma: float) -> np.ndarray:
    rows = np.exp(-0.5 * ((np.arange(size[0]) - center[0]) / sigma) ** 2)
    columns = np.exp(-0.5 * ((np.arange(size[1]) - center[1]) / sigma) ** 2)
    return (rows[:, None] * columns[None]).astype(np.float32)


def _inside(points: np.ndarray, size: tuple[int, int], margin: float) -> np.ndarray:
    return np.asarray(((points >= margin) & (points <= np.asarray(size) - 1 - margin)).all(-1))


def draw_targets(
    corners: np.ndarray,
    seen_corners: np.ndarray,
    kinds: np.ndarray,
    size: tuple[int, int],
    center_sigma_px: float,
    corner_sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps and offsets of one view.

    Args:
        corners: ``(N, 4, 2)`` (row, column) in view pixels, order AS, PS, PI, AI.
        seen_corners: the same, clipped to the scan: a cut body's center is that of its visible part.
        kinds: ``(N,)`` 0 whole, 1 S1, 2 cut by the edge of the scan, -1 uncertain (ignored where it lies).
        size: (rows, columns).
        center_sigma_px: width of the center heatmaps.
        corner_sigma_px: width of the corner heatmaps.

    Returns:
        ``(15, H, W)`` targets and ``(9, H, W)`` weights: 7 for the heatmaps (0 where uncertain), the eighth
        for the offsets of the upper two corners, the ninth for the lower two. A body with a corner outside
        the view is partial; S1's extrapolated lower corners have no heatmap and count less.
    """
    targets = np.zeros((15, *size), np.float32)
    weights = np.zeros((9, *size), np.float32)
    weights[:7] = 1
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size), indexing="ij"))
    for quad, visible, kind in zip(corners, seen_corners, kinds, strict=True):
        center = np.clip(visible, 0, np.asarray(size) - 1).mean(0)
        extent = float(np.sqrt(abs(_area(quad)))) or 1.0
        seen = _inside(quad, size, 1.0)
        if kind == PARTIAL:
            seen[:2] = False
        spot = _gaussian(size, center, 0.35 * extent) if _inside(center, size, -extent) else None
        if kind < 0 and spot is not None:
            weights[:7] *= spot < 0.3
            continue
        if not seen.any():
            continue
        needed = seen[:2] if kind == SACRAL else seen
        if needed.all():
            targets[kind] = np.maximum(targets[kind], _gaussian(size, quad.mean(0), center_sigma_px))
            center = quad.mean(0)
        else:
            targets[PARTIAL] = np.maximum(targets[PARTIAL], _gaussian(size, center, center_sigma_px))
        for index in range(4):
            if seen[index] and not (kind == SACRAL and index >= 2):
                targets[3 + index] = np.maximum(
                    targets[3 + index], _gaussian(size, quad[index], corner_sigma_px)
                )
        near = ((grid - center[:, None, None].astype(np.float32)) ** 2).sum(0) < (0.3 * extent) ** 2
        for index in range(4):
            offset = (quad[index][:, None, None] - grid) / OFFSET_UNIT_PX
            targets[7 + 2 * index : 9 + 2 * index][:, near] = offset[:, near]
        weights[7][near] = float(
            kind != PARTIAL
        )  # corners beyond the view are known, beyond the scan they are not
        weights[8][near] = 0.3 if kind == SACRAL else 1.0
    return targets, weights


def _area(quad: np.ndarray) -> float:
    rows, columns = quad[:, 0], quad[:, 1]
    return 0.5 * float(np.dot(rows, np.roll(columns, -1)) - np.dot(columns, np.roll(rows, -1)))


class VertebraTargetsd(Transform):
    """Add ``targets`` ``(15, H, W)``, ``weights`` ``(9, H, W)`` and ``tissue`` ``(1, H, W)`` to an item.

    Reads ``label``, ``corners``, ``seen_corners`` and ``kinds``. Deterministic.

    Args:
        center_sigma_px: width of center heatmaps.
        corner_sigma_px: width of corner heatmaps.
    """

    def __init__(self, center_sigma_px: float, corner_sigma_px: float) -> None:
        self.center_sigma_px, self.corner_sigma_px = center_sigma_px, corner_sigma_px

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        label = data["label"]
        targets, weights = draw_targets(
            np.asarray(data["corners"]),
            np.asarray(data["seen_corners"]),
            np.asarray(data["kinds"]),
            tuple(label.shape[-2:]),
            self.center_sigma_px,
            self.corner_sigma_px,
        )
        tissue = torch.as_tensor(np.asarray(label)).round().to(torch.float32)
        packed = torch.cat([torch.from_numpy(targets), torch.from_numpy(weights), tissue])
        return {"image": data["image"], "label": packed}

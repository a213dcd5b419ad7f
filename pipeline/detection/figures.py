"""Pictures of detections: what a person looks at before any number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure

from siamed.transforms.vertebra_targets import CORNERS

from .decode import DecodeSettings, decode_slices
from .vertebra import Column

__all__ = ["DetectionFigure", "draw_column"]

_COLORS = {"whole": "tab:red", "sacral": "tab:cyan", "partial": "gold"}


class DetectionFigure:
    """A callable for ``TrackRun``: bodies decoded in the first validation slices, target corners as dots.

    Args:
        count: slices shown.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._seen: list[tuple[np.ndarray, torch.Tensor, np.ndarray]] = []

    def attach(self, engine: Any) -> None:
        """Gather slices from an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._seen.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)

    def _gather(self, engine: Any) -> None:
        output = engine.state.output
        for image, pred, label in zip(output["image"], output["pred"], output["label"], strict=True):
            if len(self._seen) < self.count:
                self._seen.append((image[0].cpu().numpy(), pred.cpu(), label[CORNERS].amax(0).cpu().numpy()))

    def __call__(self, engine: Any) -> Figure:
        figure = Figure(figsize=(3 * max(1, len(self._seen)), 4), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, max(1, len(self._seen))))
        for axis, (image, pred, corners) in zip(axes, self._seen, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            rows, columns = np.nonzero(corners > 0.99)
            axis.plot(columns, rows, ".", color="lime", markersize=2)
            for body in decode_slices(pred[None], DecodeSettings())[0]:
                kind = "sacral" if body.sacral > 0.5 else "partial" if body.partial > 0.5 else "whole"
                _outline(axis, body.corners, _COLORS[kind], f"{body.score:.2f}")
            axis.set_axis_off()
        return figure


def _outline(axis: Any, corners: np.ndarray, color: str, text: str) -> None:
    closed = np.vstack([corners, corners[:1]])
    axis.plot(closed[:, 1], closed[:, 0], color=color, linewidth=1)
    row, column = corners.mean(0)
    axis.text(column, row, text, color=color, fontsize=6, ha="center", va="center")


def draw_column(
    axis: Any, image: np.ndarray, column: Column, affine: np.ndarray, index: int | None = None
) -> None:
    """Draw a slice of a canonical volume ``(D, H, W)`` with the column's bodies and names.

    Args:
        axis: where to draw.
        image: the volume.
        column: the detection.
        affine: voxel -> mm RAS+ of the volume.
        index: the slice; None draws the middle one.
    """
    chosen = image.shape[0] // 2 if index is None else index
    shown: Sequence[Any] = [v for v in column.vertebrae if chosen in v.slice_corners_mm]
    axis.imshow(image[chosen], cmap="gray", vmax=float(np.percentile(image[chosen], 99.5)) or 1.0)
    inverse = np.linalg.inv(affine)
    for vertebra in shown:
        voxels = vertebra.slice_corners_mm[chosen] @ inverse[:3, :3].T + inverse[:3, 3]
        color = _COLORS["partial" if vertebra.partial else "sacral" if vertebra.level == "S1" else "whole"]
        _outline(axis, voxels[:, 1:], color, vertebra.level or "?")
    axis.set_axis_off()

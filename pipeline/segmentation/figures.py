"""Pictures of segmentations: what a person looks at before any number."""

from __future__ import annotations

from typing import Any

import numpy as np
from ignite.engine import Events
from matplotlib.figure import Figure

__all__ = ["ContourFigure"]


class ContourFigure:
    """A callable for ``TrackRun``: outlines in the first validation scans, the true one green, that of the
    network red.

    Of each scan the slice that shows most of the true structure.

    Args:
        count: scans shown.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def attach(self, engine: Any) -> None:
        """Gather slices from an evaluator that decollates its batches."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._seen.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)

    def _gather(self, engine: Any) -> None:
        for item in engine.state.output:
            if len(self._seen) < self.count:
                image, pred, label = (item[key][0].cpu().numpy() for key in ("image", "pred", "label"))
                shown = int(label.sum((1, 2)).argmax())
                self._seen.append((image[shown], pred[shown], label[shown]))

    def __call__(self, engine: Any) -> Figure:
        figure = Figure(figsize=(4 * max(1, len(self._seen)), 4), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, max(1, len(self._seen))))
        for axis, (image, pred, label) in zip(axes, self._seen, strict=False):
            axis.imshow(image, cmap="gray")
            for mask, color in ((label, "lime"), (pred, "red")):
                if mask.any():
                    axis.contour(mask, [0.5], colors=color, linewidths=0.8)
            axis.set_axis_off()
        return figure

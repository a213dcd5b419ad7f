"""Figures of a training: curves of its history, a confusion matrix of its validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure

__all__ = ["ConfusionMatrix", "loss_curves"]


def loss_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses, metrics and learning rate over epochs, one panel each.

    Args:
        history: one dictionary an epoch: ``epoch``, ``train_loss``, ``lr...``, and ``val_...`` where it was
            validated.

    Returns:
        The figure; the caller owns it (it is not known to pyplot).
    """
    names = sorted({name for row in history for name in row} - {"epoch"})
    panels = {
        "loss": [name for name in names if name.endswith("loss")],
        "validation": [name for name in names if name.startswith("val_") and not name.endswith("loss")],
        "learning rate": [name for name in names if name.startswith("lr")],
    }
    panels = {title: members for title, members in panels.items() if members} or {"loss": []}
    figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
    for axes, (title, members) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
        for name in members:
            points = [(row["epoch"], row[name]) for row in history if name in row]
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set_xlabel("epoch")
        axes.set_title(title)
        if 0 < len(members) <= 10:
            axes.legend(fontsize="small")
        if title == "learning rate" and members:
            axes.set_yscale("log")
    return figure


class ConfusionMatrix:
    """A confusion matrix of each validation, gathered batch by batch: rows are true classes, columns
    predictions.

    Args:
        labels: names of the classes, in the order of their indices.
        output_transform: from the evaluator's output to (predicted, true) class indices, integer arrays or
            tensors of one length; true values below 0 are left out as unknown. Without it, the largest of
            ``pred``'s channels and ``label``.
        title: over the figure.
    """

    def __init__(
        self,
        labels: Sequence[str],
        output_transform: Callable[[Any], tuple[Any, Any]] | None = None,
        title: str = "",
    ) -> None:
        self.labels = [str(label) for label in labels]
        self.output_transform = output_transform or _largest_channel
        self.title = title
        self.counts = np.zeros((len(self.labels),) * 2, int)

    def attach(self, engine: Any) -> None:
        """Register on the evaluator."""
        engine.add_event_handler(Events.STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)

    def _reset(self, engine: Any) -> None:
        self.counts[:] = 0

    def _gather(self, engine: Any) -> None:
        pred, label = (
            np.asarray(part).ravel().astype(int) for part in self.output_transform(engine.state.output)
        )
        known = label >= 0
        np.add.at(self.counts, (label[known], pred[known]), 1)

    def __call__(self, engine: Any) -> Figure:
        """Draw what was gathered since the validation began."""
        size = 1.6 + 0.6 * len(self.labels)
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        share = self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(self.counts):
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color="w" if share[row, column] > 0.5 else "k",
            )
        axes.set_xticks(range(len(self.labels)), self.labels)
        axes.set_yticks(range(len(self.labels)), self.labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(self.title)
        return figure


def _largest_channel(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    items = output if isinstance(output, list) else [output]
    axis = 0 if isinstance(output, list) else 1
    pred = [item["pred"].argmax(axis).reshape(-1) for item in items]
    label = [torch.as_tensor(item["label"]).reshape(-1) for item in items]
    return torch.cat(pred).cpu(), torch.cat(label).cpu()

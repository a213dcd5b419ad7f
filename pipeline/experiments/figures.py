"""Figures of a training: curves of its history, a confusion matrix of its validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["HEALTH", "ConfusionMatrix", "health_curves", "loss_curves"]

_RANK, _CHANCE = "val_effective_rank", "val_chance"
_HEALTH_PANELS = {
    "score against chance": ("val_score", _CHANCE),
    "gradient norm": ("train_gradient_norm",),
    "spread and rank": ("val_embedding_spread", "val_feature_spread", _RANK),
    "alignment and uniformity": ("val_alignment", "val_uniformity"),
}
HEALTH = frozenset(name for names in _HEALTH_PANELS.values() for name in names)
"""Numbers of an epoch that :func:`health_curves` draws."""


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
    figure, framed = _framed(panels, "loss")
    for axes, title, members in framed:
        for name in members:
            axes.plot(*_points(history, name), marker=".", label=name)
        if 0 < len(members) <= 10:
            axes.legend(fontsize="small")
        if title == "learning rate":
            axes.set_yscale("log")
    return figure


def health_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """What :mod:`siamed.pipeline.experiments.health` measures, over epochs: a panel for what there is of it.

    The score of a task against chance (dashed), the gradient's norm (logarithmic), spread and effective rank
    of embeddings or features (each on a scale of its own), alignment and uniformity.

    Args:
        history: as for :func:`loss_curves`; the names drawn are :data:`HEALTH`.

    Returns:
        The figure; the caller owns it. Without any of the names it has one empty panel.
    """
    known = {name for row in history for name in row}
    panels = {title: [n for n in names if n in known] for title, names in _HEALTH_PANELS.items()}
    figure, framed = _framed(panels, "health")
    for axes, title, members in framed:
        lines: list[Line2D] = []
        for place, name in enumerate(members):
            epochs, values = _points(history, name)
            if name == _CHANCE:
                lines.append(axes.axhline(values[-1], color="gray", linestyle="--", label=name))
                continue
            scale = axes
            if name == _RANK and place:
                scale = axes.twinx()
                scale.tick_params("y", colors=f"C{place}")
            lines += scale.plot(epochs, values, color=f"C{place}", marker=".", label=name)
        if lines:
            axes.legend(handles=lines, loc="upper left", fontsize="small")
        if title == "gradient norm" and any(norm > 0 for norm in _points(history, members[0])[1]):
            axes.set_yscale("log")
    return figure


def _framed(panels: Mapping[str, list[str]], empty: str) -> tuple[Figure, list[tuple[Axes, str, list[str]]]]:
    """A figure with a titled panel for each that has members, or an empty one."""
    shown = {title: members for title, members in panels.items() if members} or {empty: []}
    figure = Figure(figsize=(5 * len(shown), 3.6), layout="constrained")
    places = np.ravel(figure.subplots(1, len(shown)))
    for axes, title in zip(places, shown, strict=True):
        axes.set_xlabel("epoch")
        axes.set_title(title)
    return figure, [(axes, *panel) for axes, panel in zip(places, shown.items(), strict=True)]


def _points(history: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    rows = [row for row in history if name in row]
    return [row["epoch"] for row in rows], [row[name] for row in rows]


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

"""Pictures of self-supervised tasks: what goes in, what is asked for, what came out.

The first thing to look at on new data, before anything is trained: an input that shows nothing, or a label
that cannot be told from it, is seen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure

from siamed.pipeline.experiments.files import replace_file, write_json

__all__ = [
    "ClassPicture",
    "OffsetPicture",
    "Panel",
    "Picture",
    "PixelPicture",
    "PretextFigure",
    "SaveItems",
    "ViewPicture",
    "draw_items",
]

_GRAY = "gray"
_LINE = 34  # characters of a heading above a panel


class Panel(NamedTuple):
    """One picture of an item: its heading, pixels ``(H, W)``, and their color map."""

    title: str
    pixels: np.ndarray
    colors: str = _GRAY


class Picture(Protocol):
    """What one task shows of an item."""

    def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
        """Panels of an item; ``pred`` is None before anything is trained."""
        ...


def _plane(image: torch.Tensor) -> np.ndarray:
    """The middle slice of ``(C, H, W)`` or ``(C, D, H, W)``, channels and slices alike."""
    slices = image.detach().float().cpu().reshape(-1, *image.shape[-2:])
    return slices[len(slices) // 2].numpy()


class PixelPicture:
    """Input, what was there, and the answer; where pixels were hidden, the answer at these alone."""

    def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
        """Panels of an item: image and pred ``(C, ...)``, label ``(C, ...)`` or with a mask last."""
        channels = len(image)
        found = [Panel("input", _plane(image)), Panel("target", _plane(label[:channels]))]
        if pred is not None:
            whole = pred.detach().float().cpu()
            hidden = label[channels:].cpu() > 0
            filled = torch.where(hidden, whole, image.cpu()) if len(hidden) else whole
            gap = (filled - label[:channels].cpu()).abs()
            found += [Panel("output", _plane(filled)), Panel("difference", _plane(gap), "magma")]
        return found


class ClassPicture:
    """The members of an item, and their class in words.

    Args:
        names: of the classes.
        members: how many images an item stacks.
    """

    def __init__(self, names: Iterable[Any], members: int = 1) -> None:
        self.names, self.members = [str(name) for name in names], int(members)

    def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
        """Panels of an item: image ``(members * C, ...)``, label a class, pred its scores."""
        said = "" if pred is None else f", answer: {self.names[int(pred.argmax())]}"
        titles = [f"{self.names[int(label)]}{said}"]
        if self.members > 1:
            titles = ["reference", *(f"query: {titles[0]}" for _ in range(self.members - 1))]
        members = image.unflatten(0, (self.members, -1))
        return [Panel(title, _plane(member)) for title, member in zip(titles, members, strict=True)]


class OffsetPicture:
    """Two patches, and the offset of the second as heatmaps or in numbers."""

    def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
        """Panels of an item: image ``(2 * C, H, W)``, label and pred ``(1, rows, columns)`` or ``(2,)``."""
        reference, query = image.unflatten(0, (2, -1))
        if label.ndim == 1:
            words = f"offset {_numbers(label)}" + ("" if pred is None else f", answer {_numbers(pred)}")
            return [Panel("reference", _plane(reference)), Panel(f"query: {words}", _plane(query))]
        found = [Panel("reference", _plane(reference)), Panel("query", _plane(query))]
        found.append(Panel("heatmap", _plane(label), "viridis"))
        if pred is not None:
            gap = (pred.detach().float().cpu() - label.cpu()).abs()
            found += [Panel("output", _plane(pred), "viridis"), Panel("difference", _plane(gap), "magma")]
        return found


def _numbers(values: torch.Tensor) -> str:
    return "(" + ", ".join(f"{float(value):+.2f}" for value in values) + ")"


class ViewPicture:
    """The views of an item; where the label is a part of the body, its number."""

    def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
        """Panels of an item: image ``(2 * C, ...)``, label -1 or a part, pred ``(2, E, ...)``."""
        part = f", part {int(label)}" if int(label) >= 0 else ""
        words = "" if pred is None else f", cosine of the two {_cosine(pred):.2f}"
        one, other = image.unflatten(0, (2, -1))
        return [Panel(f"a view{part}", _plane(one)), Panel(f"another{words}", _plane(other))]


def _cosine(pred: torch.Tensor) -> float:
    one, other = pred.detach().float().flatten(2).mean(2) if pred.ndim > 2 else pred.detach().float()
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def draw_items(picture: Picture, items: Sequence[Mapping[str, Any]]) -> Figure:
    """A row of panels for each item.

    Args:
        picture: of the task.
        items: with ``image``, ``label`` and, where a network answered, ``pred``.

    Raises:
        ValueError: if there is no item.
    """
    if not items:
        raise ValueError("items must be at least one to be drawn, got none")
    rows = [picture.panels(item["image"], item["label"], item.get("pred")) for item in items]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(2.6 * columns, 2.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for axis in axes:
            axis.set_axis_off()
        # Images of an item share their grays: what is dark beside its target is seen to be.
        grays = [panel.pixels for panel in row if panel.colors == _GRAY]
        shared = {"vmin": min(map(np.min, grays)), "vmax": max(map(np.max, grays))} if grays else {}
        for axis, panel in zip(axes, row, strict=False):
            axis.imshow(panel.pixels, cmap=panel.colors, **(shared if panel.colors == _GRAY else {}))
            axis.set_title(fill(panel.title, _LINE), fontsize="small")
    return figure


class PretextFigure:
    """A callable for ``TrackRun``: the first items of a validation, with the network's answers.

    Args:
        picture: of the task.
        count: items shown.
    """

    def __init__(self, picture: Picture, count: int = 6) -> None:
        self.picture, self.count = picture, int(count)
        self._seen: list[dict[str, torch.Tensor]] = []

    def attach(self, engine: Any) -> None:
        """Gather items from an evaluator that leaves batches whole."""
        engine.add_event_handler(Events.STARTED, lambda _: self._seen.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)

    def _gather(self, engine: Any) -> None:
        batch = {key: engine.state.output[key] for key in ("image", "label", "pred")}
        for place in range(min(len(batch["image"]), self.count - len(self._seen))):
            self._seen.append({key: value[place].detach().cpu() for key, value in batch.items()})

    def __call__(self, engine: Any) -> Figure:
        return draw_items(self.picture, self._seen)


class SaveItems:
    """A handler for an evaluator: ``items.png`` and ``scores.json`` of what it went over.

    Args:
        output_dir: where they are written.
        picture: of the task.
        count: items shown.
    """

    def __init__(self, output_dir: str | Path, picture: Picture, count: int = 6) -> None:
        self.folder, self.figure = Path(output_dir), PretextFigure(picture, count)

    def attach(self, engine: Any) -> None:
        """Register on an evaluator that leaves batches whole."""
        self.figure.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        drawn = self.figure(engine)
        replace_file(self.folder / "items.png", partial(drawn.savefig, dpi=120, format="png"))
        scores = {name: float(value) for name, value in engine.state.metrics.items()}
        write_json(self.folder / "scores.json", scores)

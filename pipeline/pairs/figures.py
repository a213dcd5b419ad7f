"""Pictures of a Siamese pretraining: distances and ROC of same-person pairs, confusion of the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from siamed.pipeline.experiments.figures import ConfusionMatrix

from .metrics import compare_volumes, distance_matrix
from .volumes import LEVELS

__all__ = ["LevelConfusion", "SamePersonFigure", "draw_distances"]


class SamePersonFigure:
    """A callable for ``TrackRun``: what :func:`draw_distances` shows, of the validation's pairs.

    Args:
        embedding: entries of an embedding in the network's output.
    """

    def __init__(self, embedding: int) -> None:
        self.embedding = int(embedding)
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []

    def attach(self, engine: Any) -> None:
        """Gather embeddings from an evaluator."""
        engine.add_event_handler(Events.STARTED, lambda _: self._seen.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)

    def _gather(self, engine: Any) -> None:
        output = engine.state.output
        embeddings = output["pred"][..., : self.embedding].detach().float().cpu().numpy()
        self._seen.append((embeddings, output["label"].cpu().numpy()))

    def __call__(self, engine: Any) -> Figure:
        embeddings, labels = (np.concatenate(part) for part in zip(*self._seen, strict=True))
        compared = compare_volumes(distance_matrix(embeddings), labels[:, 1], labels[:, 2])
        return draw_distances(compared.distance, compared.same)


def draw_distances(distances: np.ndarray, same: np.ndarray) -> Figure:
    """Histograms of the distances of both kinds of pairs, and the ROC [jamaludin2017ssl, Fig. 6].

    Args:
        distances: ``(M,)``.
        same: ``(M,)``, whether the pair is of one person.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0, max(float(distances.max(initial=0)), 1e-6), 40)
    for kind, name, color in [(same, "same person", "tab:blue"), (~same, "two persons", "tab:red")]:
        if kind.any():
            left.hist(distances[kind], bins, density=True, alpha=0.6, color=color, label=name)
    left.set_xlabel("distance of embeddings")
    left.set_ylabel("density")
    left.legend(fontsize="small")
    if same.any() and not same.all():
        false, true, _ = roc_curve(same, -distances)
        right.plot(false, true, color="tab:blue")
        right.set_title(f"AUC {auc(false, true):.3f}")
    right.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    right.set_xlabel("two persons taken for one")
    right.set_ylabel("one person recognized")
    return figure


class LevelConfusion(ConfusionMatrix):
    """The confusion matrix of the levels of both volumes.

    Args:
        embedding: entries of an embedding; the level scores follow it in the network's output.
        levels: number of level scores.
    """

    def __init__(self, embedding: int, levels: int) -> None:
        self.embedding = int(embedding)
        super().__init__(list(LEVELS[:levels]), self._pick, "vertebral level")

    def _pick(self, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
        scores = output["pred"][..., self.embedding :]
        return scores.argmax(-1).cpu(), output["label"][:, 1, None].expand(-1, 2).cpu()

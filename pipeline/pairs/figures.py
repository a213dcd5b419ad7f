"""Pictures of a Siamese pretraining: distances and ROC of pairs, confusion of the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from siamed.pipeline.experiments.figures import ConfusionMatrix

from .metrics import compare_volumes, distance_matrix
from .question import question_of
from .volumes import LEVELS

__all__ = ["LevelConfusion", "PairFigure", "SamePersonFigure", "draw_distances"]


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
        compared = compare_volumes(distance_matrix(self._embeddings), self._labels[:, 1], self._labels[:, 2])
        return draw_distances(compared.distance, compared.same)

    @property
    def _embeddings(self) -> np.ndarray:
        return np.concatenate([embeddings for embeddings, _ in self._seen])

    @property
    def _labels(self) -> np.ndarray:
        return np.concatenate([labels for _, labels in self._seen])


class PairFigure(SamePersonFigure):
    """The same of the validation's pairs as they are given, for whatever is asked of them.

    Args:
        embedding: entries of an embedding in the network's output.
        question: see :mod:`siamed.pipeline.pairs.question`.
    """

    def __init__(self, embedding: int, question: str) -> None:
        super().__init__(embedding)
        self.question = question_of(question)

    def __call__(self, engine: Any) -> Figure:
        gaps = np.linalg.norm(self._embeddings[:, 0] - self._embeddings[:, 1], axis=1)
        return draw_distances(gaps, self._labels[:, 0] > 0, self.question.name)


def draw_distances(distances: np.ndarray, same: np.ndarray, question: str = "same_person") -> Figure:
    """Histograms of the distances of both kinds of pairs, and the ROC [jamaludin2017ssl, Fig. 6].

    Args:
        distances: ``(M,)``.
        same: ``(M,)``, whether the pair is a positive one.
        question: what was asked.
    """
    asked = question_of(question)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0, max(float(distances.max(initial=0)), 1e-6), 40)
    for kind, name, color in [(same, asked.same, "tab:blue"), (~same, asked.other, "tab:red")]:
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
    right.set_xlabel(f"{asked.other} taken for {asked.same}")
    right.set_ylabel(f"{asked.same} recognized")
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

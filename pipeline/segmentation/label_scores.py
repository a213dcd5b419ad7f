"""Score the held-out patients of a segmenting network for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from siamed.pipeline.bundles import run_network

from .inference import THRESHOLD, Segmenter
from .labelled_cases import LabelledCase, labelled_cases
from .metrics import dice

__all__ = ["DiceScorer"]


class DiceScorer:
    """Dice of one structure on the scan's own grid, of the network's answer as it is.

    Args:
        dataset_dir: scans with label maps.
        labels: values of the label maps that are the structure.
        structure: its name, for tables.
    """

    measure = "Dice"

    def __init__(self, dataset_dir: str | Path, labels: Sequence[int], structure: str) -> None:
        self.dataset_dir, self.labels = str(dataset_dir), [int(label) for label in labels]
        self.parts: tuple[str, ...] = (str(structure),)

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """For each subject and part the sum of Dice and its number, ``(parts, 2)``.

        Args:
            run: folder of a training.
            subjects: who is scored.
        """
        segmenter = Segmenter(*run_network(run))
        found: dict[str, np.ndarray] = {}
        for case in self.cases(subjects):
            sums = found.setdefault(case.subject_id, np.zeros((len(self.parts), 2)))
            for part, score in self.scores(case, segmenter):
                sums[self.parts.index(part)] += score, 1
        return found

    def cases(self, subjects: Sequence[str]) -> Iterator[LabelledCase]:
        """What is scored of these subjects."""
        return labelled_cases(self.dataset_dir, self.labels, subjects)

    def scores(self, case: LabelledCase, segmenter: Segmenter) -> Iterator[tuple[str, float]]:
        """A case's Dice, each with the part that it is of."""
        yield self.parts[0], dice(segmenter(case.image) >= THRESHOLD, case.truth)

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """Mean Dice, from sums ``(..., 2)``: ``(...)``; NaN where there is nothing to score."""
        summed = np.asarray(summed, float)
        with np.errstate(invalid="ignore"):
            return summed[..., 0] / summed[..., 1]

"""Score the held-out patients of a segmenting network for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siamed.pipeline.bundles import run_network

from .inference import THRESHOLD, Segmenter
from .labelled_cases import labelled_cases
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
        self.parts = (str(structure),)

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """For each subject the sum of its scans' Dice and their number, ``(1, 2)``.

        Args:
            run: folder of a training.
            subjects: who is scored.
        """
        segmenter = Segmenter(*run_network(run))
        found: dict[str, np.ndarray] = {}
        for case in labelled_cases(self.dataset_dir, self.labels, subjects):
            said = segmenter(case.image) >= THRESHOLD
            found.setdefault(case.subject_id, np.zeros((1, 2)))[0] += dice(said, case.truth), 1
        return found

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """Mean Dice, from sums ``(..., 2)``: ``(...)``."""
        summed = np.asarray(summed, float)
        return summed[..., 0] / summed[..., 1]

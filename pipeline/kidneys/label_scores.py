"""Score a kidney network's held-out patients for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siamed.pipeline.bundles import run_network
from siamed.pipeline.segmentation.inference import Segmenter
from siamed.pipeline.segmentation.labelled_cases import labelled_cases
from siamed.pipeline.segmentation.metrics import dice

from .evaluate import segmented_sides

__all__ = ["KidneyScorer"]


class KidneyScorer:
    """Dice of each kidney on the scan's own grid, sides told by place in the patient.

    Args:
        dataset_dir: scans with label maps.
        labels: values of the label maps that are kidney, or belong to one.
    """

    measure = "Dice"
    parts = ("mean of both kidneys", "right kidney", "left kidney")

    def __init__(self, dataset_dir: str | Path, labels: Sequence[int]) -> None:
        self.dataset_dir, self.labels = str(dataset_dir), [int(label) for label in labels]

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """For each subject sums of Dice and numbers of kidneys, ``(3, 2)``.

        Args:
            run: folder of a training.
            subjects: who is scored.
        """
        segmenter = Segmenter(*run_network(run))
        found: dict[str, np.ndarray] = {}
        for case in labelled_cases(self.dataset_dir, self.labels, subjects):
            sums = found.setdefault(case.subject_id, np.zeros((3, 2)))
            for side, (said, true) in segmented_sides(case, segmenter).items():
                sums[[0, self.parts.index(f"{side} kidney")]] += dice(said, true), 1
        return found

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """Mean Dice, from sums ``(..., 2)``: ``(...)``."""
        summed = np.asarray(summed, float)
        return summed[..., 0] / summed[..., 1]

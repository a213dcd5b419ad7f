"""Score a kidney network's held-out patients for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from siamed.pipeline.segmentation.inference import Segmenter
from siamed.pipeline.segmentation.label_scores import DiceScorer
from siamed.pipeline.segmentation.labelled_cases import LabelledCase
from siamed.pipeline.segmentation.metrics import dice

from .evaluate import segmented_sides

__all__ = ["KidneyScorer"]

_BOTH = "mean of both kidneys"


class KidneyScorer(DiceScorer):
    """Dice of each kidney on the scan's own grid, sides told by place in the patient.

    Args:
        dataset_dir: scans with label maps.
        labels: values of the label maps that are kidney, or belong to one.
    """

    def __init__(self, dataset_dir: str | Path, labels: Sequence[int]) -> None:
        super().__init__(dataset_dir, labels, _BOTH)
        self.parts = (_BOTH, "right kidney", "left kidney")

    def scores(self, case: LabelledCase, segmenter: Segmenter) -> Iterator[tuple[str, float]]:
        """Dice of a case's kidneys, each by its own part and for the mean."""
        for side, (said, true) in segmented_sides(case, segmenter).items():
            for part in (_BOTH, f"{side} kidney"):
                yield part, dice(said, true)

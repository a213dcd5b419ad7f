"""Score a kidney network's held-out patients for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from siamed.pipeline.segmentation.inference import Segmenter
from siamed.pipeline.segmentation.label_scores import DiceScorer
from siamed.pipeline.segmentation.labelled_cases import LabelledCase
from siamed.pipeline.segmentation.metrics import dice
from siamed.pipeline.synthesis.prepare import all_maps

from .evaluate import rendered_cases, segmented_sides

__all__ = ["KidneyScorer", "MapScorer"]

_BOTH = "mean of both kidneys"
_ORIGINS = {"kits19": "in drawn bodies", "chaos": "in bodies of MR scans"}


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


class MapScorer(DiceScorer):
    """Dice of kidneys in images that are rendered from maps of tissues, by what the maps were made from.

    Images have all that images are drawn with, whatever a training went without, and are the same for every
    training.

    Args:
        dataset_dir: maps, see :mod:`siamed.pipeline.synthesis.prepare`.
        every: of the drawn bodies one in so many is scored.
        seed: of the rendering.
    """

    def __init__(self, dataset_dir: str | Path, every: int = 1, seed: int = 0) -> None:
        super().__init__(dataset_dir, (), "kidneys of all maps")
        if every < 1:
            raise ValueError(f"every must be 1 or more, got {every}")
        self.every, self.seed = int(every), int(seed)
        self.parts = (*self.parts, *_ORIGINS.values())

    def cases(self, subjects: Sequence[str]) -> Iterator[LabelledCase]:
        """The maps of these subjects, rendered."""
        items = [item for item in all_maps(self.dataset_dir) if item["subject_id"] in subjects]
        chosen = [item for item in items if item["origin"] == "chaos"]  # few: all of them
        chosen += [item for item in items if item["origin"] == "kits19"][:: self.every]
        return rendered_cases(chosen, self.seed)

    def scores(self, case: LabelledCase, segmenter: Segmenter) -> Iterator[tuple[str, float]]:
        """Dice of a map's kidneys, each for all maps and for those of its origin."""
        for said, true in segmented_sides(case, segmenter).values():
            for part in (self.parts[0], _ORIGINS[case.origin]):
                yield part, dice(said, true)

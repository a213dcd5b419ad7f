"""Score a grader's held-out patients for a label-efficiency experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from siamed.pipeline.bundles import run_network

from .crops import DiscCrops
from .grader import DiscGrader
from .metrics import confusion
from .tasks import MISSING, TASKS

__all__ = ["DiscScorer"]


class DiscScorer:
    """Average class accuracy of one grade: the mean of the diagonal of the normalized confusion matrix
    [jamaludin2017ssl, Sec. 4.2].

    Args:
        crops_file: disc crops, see :mod:`siamed.pipeline.grading.crops`.
        sequences: scans whose discs are scored.
        task: the grade.
    """

    measure = "average class accuracy"

    def __init__(self, crops_file: str | Path, sequences: Sequence[str], task: str = "pfirrmann") -> None:
        if task not in TASKS:
            raise ValueError(f"task must be one of {list(TASKS)}, got {task!r}")
        self.crops_file, self.sequences, self.task = str(crops_file), tuple(sequences), task

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """Confusion matrix ``(true grade, predicted grade)`` of each subject with a graded disc.

        Args:
            run: folder of a grader's training.
            subjects: who is scored.
        """
        network, hparams = run_network(run)
        grader = DiscGrader.from_hparams(network, hparams)
        crops = DiscCrops.load(self.crops_file).of(subjects, self.sequences)
        images = torch.from_numpy(crops.images[:, None])  # with the margin, as `siamed grade` cuts its discs
        truths = crops.grades[:, crops.tasks.index(self.task)]
        likeliest = grader.probabilities(images)[grader.tasks.index(self.task)].argmax(1).numpy()
        grades = np.array(TASKS[self.task])[likeliest]
        found = {}
        for subject in subjects:
            own = (crops.subjects == subject) & (truths != MISSING)
            if own.any():
                found[subject] = confusion(truths[own], grades[own], self.task)
        return found

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """Mean over the grades that occur of the share rightly graded.

        Shape:
            - summed ``(..., K, K)`` counts;
            - output ``(...)``.
        """
        counts = np.asarray(summed, float)
        true = counts.sum(-1)
        right = np.diagonal(counts, axis1=-2, axis2=-1)
        recalls = np.divide(right, true, out=np.full(right.shape, np.nan), where=true > 0)
        return np.nanmean(recalls, axis=-1)

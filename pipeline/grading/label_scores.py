"""Score a grader's held-out patients for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from siamed.pipeline.bundles import run_network

from .crops import DiscCrops
from .grader import DiscGrader
from .metrics import confusion
from .tasks import MISSING, TASKS, class_counts, given_classes

__all__ = ["MEASURES", "DiscScorer", "average_class_accuracy", "quadratic_kappa"]


class DiscScorer:
    """Average class accuracy of grades, the mean of the diagonal of the normalized confusion matrix
    [jamaludin2017ssl, Sec. 4.2], or their quadratic kappa.

    Args:
        crops_file: disc crops, see :mod:`siamed.pipeline.grading.crops`.
        sequences: scans whose discs are scored.
        tasks: the grades; the first is the one the experiment is about.
        beside: a further sequence of the same discs. Each grade is then a part twice: from ``sequences``
            alone, and with the probabilities of both averaged (of one where the other was not taken).
    """

    measure = "average class accuracy"

    def __init__(
        self,
        crops_file: str | Path,
        sequences: Sequence[str],
        tasks: Sequence[str] = ("pfirrmann",),
        beside: str | None = None,
        measure: str = "average class accuracy",
    ) -> None:
        class_counts(tasks)
        if measure not in MEASURES:
            raise ValueError(f"measure must be one of {list(MEASURES)}, got {measure!r}")
        self.measure = measure
        if beside in sequences:
            raise ValueError(f"beside must be another sequence than {list(sequences)}, got {beside!r}")
        self.crops_file, self.sequences = str(crops_file), tuple(sequences)
        self.tasks, self.beside = tuple(tasks), beside
        self.parts = (*self.tasks, *(f"{task}, {beside} beside" for task in tasks if beside is not None))

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """Confusion matrices ``(parts, K, K)``, true grade by predicted one, of each subject with a graded
        disc; K is the largest number of classes, and classes that a grade does not have are zero.

        Args:
            run: folder of a grader's training.
            subjects: who is scored.

        Raises:
            ValueError: if the network does not grade one of the tasks.
        """
        network, hparams = run_network(run)
        grader = DiscGrader.from_hparams(network, hparams)
        lacking = [task for task in self.tasks if task not in grader.tasks]
        if lacking:
            raise ValueError(
                f"tasks must be graded by every arm, {Path(run).name} does not grade {lacking[0]}"
            )
        known = DiscCrops.load(self.crops_file)
        crops = known.of(subjects, self.sequences)
        ways = [self._shares(grader, crops)]
        if self.beside is not None:
            ways.append(self._averaged(crops, ways[0], known.of(subjects, [self.beside]), grader))
        largest = max(class_counts(self.tasks))
        found: dict[str, np.ndarray] = {}
        for subject in subjects:
            matrices = np.zeros((len(self.parts), largest, largest), int)
            for part, (way, task) in enumerate((w, t) for w in ways for t in self.tasks):
                truths = crops.grades[:, crops.tasks.index(task)]
                own = (crops.subjects == subject) & (truths != MISSING)
                said = np.array(TASKS[task])[given_classes(task, way[task][own])]
                counts = confusion(truths[own], said, task)
                matrices[part, : len(counts), : len(counts)] = counts
            if matrices.any():
                found[subject] = matrices
        return found

    def _shares(self, grader: DiscGrader, crops: DiscCrops) -> dict[str, np.ndarray]:
        # With the margin, as `siamed grade` cuts its discs.
        parts = grader.probabilities(torch.from_numpy(crops.images[:, None]))
        return {task: part.numpy() for task, part in zip(grader.tasks, parts, strict=True)}

    def _averaged(
        self, crops: DiscCrops, shares: dict[str, np.ndarray], others: DiscCrops, grader: DiscGrader
    ) -> dict[str, np.ndarray]:
        theirs = self._shares(grader, others)
        places = {disc: n for n, disc in enumerate(zip(others.subjects, others.discs, strict=True))}
        pairs = [
            (n, places[disc])
            for n, disc in enumerate(zip(crops.subjects, crops.discs, strict=True))
            if disc in places
        ]
        here, there = np.array(pairs, int).reshape(-1, 2).T
        averaged = {task: part.copy() for task, part in shares.items()}
        for task, part in averaged.items():
            part[here] = (part[here] + theirs[task][there]) / 2
        return averaged

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """The measure, from confusion matrices ``(..., K, K)``: ``(...)``."""
        return MEASURES[self.measure](np.asarray(summed, float))


def average_class_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean over the grades that occur of the share rightly graded; counts ``(..., K, K)`` -> ``(...)``."""
    true, right = counts.sum(-1), np.diagonal(counts, axis1=-2, axis2=-1)
    recalls = np.divide(right, true, out=np.full(right.shape, np.nan), where=true > 0)
    return np.nanmean(recalls, axis=-1)


def quadratic_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights; counts ``(..., K, K)`` -> ``(...)``. It is scikit-learn's, but of
    many confusion matrices at once; nan where all discs have one and the same grade."""
    places = np.arange(counts.shape[-1])
    weights = (places[:, None] - places) ** 2.0
    chance = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    by_chance = (weights * chance).sum((-2, -1)) / counts.sum((-2, -1))
    missed = (weights * counts).sum((-2, -1))
    return 1 - np.divide(missed, by_chance, out=np.full(missed.shape, np.nan), where=by_chance > 0)


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "average class accuracy": average_class_accuracy,
    "quadratic kappa": quadratic_kappa,
}

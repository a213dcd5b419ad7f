"""Which trainings an experiment takes: cells, and the nested lists of subjects that have labels.

For a fold and a seed the training subjects are shuffled once; a budget takes the first of them. Every arm
sees the same lists, and a larger budget holds the smaller one's subjects. The lists are written as split
files, which the trainings read and record the hash of.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from siamed.pipeline.datasets.splits import fold_parts, held_out
from siamed.pipeline.experiments.files import read_json, write_json

from .config import Budget, Experiment

__all__ = ["Cell", "cells", "nested_subjects", "pretraining_subjects", "write_split"]


@dataclass(frozen=True)
class Cell:
    """One training: an arm with so many labelled subjects, one seed, one fold left out."""

    arm: str
    budget: Budget
    subjects: int
    seed: int
    fold: int

    @property
    def place(self) -> Path:
        """Its folder below the experiment's."""
        return Path("trainings", self.shared.name, self.arm)

    @property
    def shared(self) -> Path:
        """Split file below the experiment's folder, one for all arms."""
        return Path("splits", f"seed_{self.seed}_fold_{self.fold}_subjects_{self.subjects:04d}")


def nested_subjects(experiment: Experiment, fold: int, seed: int) -> list[str]:
    """The training subjects of a fold in the order in which they get labels. Deterministic."""
    subjects = sorted(fold_parts(experiment.split, fold, "training"))
    order = np.random.default_rng([seed, fold]).permutation(len(subjects))
    return [subjects[i] for i in order]


def pretraining_subjects(experiment: Experiment, fold: int) -> list[str]:
    """Subjects that the sources of a fold are trained on. Deterministic."""
    splits = {source.split or experiment.split for source in experiment.sources.values()}
    return sorted({subject for split in splits for subject in fold_parts(split, fold, "training")})


def cells(experiment: Experiment) -> list[Cell]:
    """All cells, whole seeds first, so that an unfinished experiment has whole seeds to show.

    Raises:
        ValueError: if a budget exceeds the subjects of a fold, or does not exceed the budget before it, or a
            subject is scored in two folds, which would count once.
    """
    scored = [subject for fold in experiment.folds for subject in held_out(experiment.split, fold)]
    twice = sorted({subject for subject in scored if scored.count(subject) > 1})
    if twice:
        raise ValueError(f"folds must score each subject once, {twice[0]!r} is scored in more than one")
    counts = {fold: _budget_counts(experiment, fold) for fold in experiment.folds}
    return [
        Cell(arm, budget, count, seed, fold)
        for seed in experiment.seeds
        for fold in experiment.folds
        for budget, count in zip(experiment.budgets, counts[fold], strict=True)
        for arm in experiment.arms
    ]


def _budget_counts(experiment: Experiment, fold: int) -> list[int]:
    known = len(fold_parts(experiment.split, fold, "training"))
    counts = [budget.of(known) for budget in experiment.budgets]
    if any(after <= before for before, after in pairwise(counts)):
        texts = [budget.text for budget in experiment.budgets]
        raise ValueError(
            f"budgets must rise, {texts} are {counts} of the {known} training subjects of fold {fold}"
        )
    return counts


def write_split(experiment: Experiment, cell: Cell, folder: Path) -> Path:
    """The cell's split file, written once.

    Raises:
        ValueError: if the folder holds another list under this name.
    """
    path = (folder / cell.shared).with_suffix(".json")
    content = {
        "unit": "patient",
        "rule": f"the first {cell.subjects} of the training subjects in a random order of their own",
        "training": nested_subjects(experiment, cell.fold, cell.seed)[: cell.subjects],
        "validation": fold_parts(experiment.split, cell.fold, "validation"),
    }
    scored = held_out(experiment.split, cell.fold)
    if scored != content["validation"]:
        content["test"] = scored
    found = read_json(path)
    if found is None:
        return write_json(path, content)
    if found != content:
        raise ValueError(f"out must hold this experiment's lists, {path.name} is another: give another out")
    return path

"""Compare two cross-validations of the grader, patient by patient.

    python -m siamed.pipeline.grading.paired --reference runs/scratch_cv --other runs/grader_cv

Both are folders of :mod:`siamed.pipeline.grading.cross_validate` over the same discs, folds and seeds. For
each task: the measure of both, their difference with an interval over patients and seeds, and a
paired permutation test, p adjusted over the tasks: the table of :mod:`siamed.pipeline.label_efficiency`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siamed.pipeline.experiments.files import read_json
from siamed.pipeline.label_efficiency.figures import markdown_parts
from siamed.pipeline.label_efficiency.statistics import Scores, adjust, summarize

from .label_scores import MEASURES
from .metrics import confusion
from .tasks import TASKS

__all__ = ["compare", "main"]

_ARMS = ("reference", "other")
_Graded = dict[tuple[int, str, str, int], tuple[int, int]]  # seed, subject, case, disc -> truth, grade


def compare(
    reference: Path,
    other: Path,
    subjects: Sequence[str] | None = None,
    measure: str = "average class accuracy",
) -> dict[str, dict[str, Any]]:
    """Summary of each task that both have graded.

    Args:
        reference: folder with ``predictions.csv``.
        other: the same.
        subjects: whose discs count; None for all.
        measure: one of :data:`~siamed.pipeline.grading.label_scores.MEASURES`.

    Raises:
        ValueError: if the two have not graded the same discs with the same seeds.
    """
    given = {arm: _read(folder) for arm, folder in zip(_ARMS, (reference, other), strict=True)}
    tasks = [task for task in TASKS if all(task in found for found in given.values())]
    parts = {}
    for task in tasks:
        one, two = (given[arm][task] for arm in _ARMS)
        if {key: truth for key, (truth, _) in one.items()} != {key: truth for key, (truth, _) in two.items()}:
            raise ValueError(
                f"other must have graded the same discs of {task} by the same seeds as reference"
            )
        sums = {(arm, 0): _sums(given[arm][task], task, subjects) for arm in _ARMS}
        parts[task] = summarize(Scores(_ARMS, (1.0,), sums), MEASURES[measure], _ARMS[0])
    adjust(list(parts.values()))
    return parts


def _read(folder: Path) -> dict[str, _Graded]:
    found: dict[str, _Graded] = {}
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (int(row["seed"]), row["subject_id"], row["case_id"], int(row["disc"]))
            found.setdefault(row["task"], {})[key] = (int(row["truth"]), int(row["predicted"]))
    return found


def _sums(graded: _Graded, task: str, subjects: Sequence[str] | None) -> np.ndarray:
    """Confusion matrices ``(seeds, subjects, K, K)``."""
    seeds = sorted({key[0] for key in graded})
    names = sorted({key[1] for key in graded if subjects is None or key[1] in subjects})
    pairs: dict[tuple[int, str], list[tuple[int, int]]] = {(s, name): [] for s in seeds for name in names}
    for (seed, name, _, _), pair in graded.items():
        if name in names:
            pairs[seed, name].append(pair)
    matrices = []
    for seed in seeds:
        truth_and_grade = (np.array(pairs[seed, name], int).reshape(-1, 2) for name in names)
        matrices.append([confusion(own[:, 0], own[:, 1], task) for own in truth_and_grade])
    return np.array(matrices, float)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--subjects", type=Path, help="JSON list of those who count")
    parser.add_argument("--measure", choices=list(MEASURES), default="average class accuracy")
    chosen = parser.parse_args(arguments)
    subjects = read_json(chosen.subjects) if chosen.subjects else None
    try:
        parts = compare(chosen.reference, chosen.other, subjects, chosen.measure)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    first = next(iter(parts.values()))
    sys.stdout.write(f"{first['seeds']} seeds, {first['subjects_scored']} subjects.\n\n")
    sys.stdout.write(markdown_parts(parts, "100 %", chosen.measure))
    return 0


if __name__ == "__main__":
    sys.exit(main())

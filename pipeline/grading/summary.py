"""What a cross-validation's predictions say: figures of a task, by seed, fold and level, and beside readers.

A row is a labelled disc and task graded by one training: ``fold``, ``seed``, ``task``, ``subject_id``,
``case_id``, ``disc`` (counted from the lowest up), ``truth`` and ``predicted`` as the standard counts them,
and ``probabilities`` ``(C,)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from .calibration import GradeCalibration, repeated_differences
from .metrics import METRICS, bootstrap_intervals, grade_metrics
from .tasks import TASKS, given_classes, median_classes

__all__ = [
    "Row",
    "auc",
    "by_level",
    "by_rule",
    "mean_of_seeds",
    "normal_or_not",
    "pair",
    "repeatability",
    "second_reading",
    "summarize",
]

Row = dict[str, Any]


def pair(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted grades of rows."""
    return np.array([row["truth"] for row in rows]), np.array([row["predicted"] for row in rows])


def summarize(rows: Sequence[Row], task: str) -> dict[str, Any]:
    """Figures of one task: each seed over all folds, each fold of each seed, mean and range over the seeds,
    an interval over patients for each seed and, apart, the seeds together (the grade that their mean
    probabilities give); the area under each grade's ROC curve, normal against abnormal, level by level."""
    known = [row for row in rows if row["task"] == task]
    seeds: dict[str, Any] = {}
    for seed in sorted({row["seed"] for row in known}):
        of_seed = [row for row in known if row["seed"] == seed]
        folds = {
            f: [row for row in of_seed if row["fold"] == f] for f in sorted({r["fold"] for r in of_seed})
        }
        seeds[str(seed)] = {
            "all_folds": grade_metrics(*pair(of_seed)),
            "interval_95_over_patients": bootstrap_intervals(
                *pair(of_seed), [r["subject_id"] for r in of_seed]
            ),
            "folds": {str(fold): grade_metrics(*pair(members)) for fold, members in folds.items()},
        }
    of_seeds = [[row for row in known if str(row["seed"]) == seed] for seed in seeds]
    values = {name: [figures["all_folds"][name] for figures in seeds.values()] for name in METRICS}
    together: dict[tuple[str, int], list[Row]] = {}
    for row in known:
        together.setdefault((row["case_id"], row["disc"]), []).append(row)
    given = [
        TASKS[task][int(given_classes(task, np.mean([r["probabilities"] for r in m], axis=0)))]
        for m in together.values()
    ]
    truth = np.array([members[0]["truth"] for members in together.values()])
    return {
        "discs": len(together),
        "patients": len({row["subject_id"] for row in known}),
        "mean": {name: float(np.mean(v)) for name, v in values.items()},
        "range": {name: [float(min(v)), float(max(v))] for name, v in values.items()},
        "auc": _mean(auc(own, task) for own in of_seeds),
        "normal_or_not": _mean(normal_or_not(own, task) for own in of_seeds),
        "levels": by_level(known, task),
        "seeds": seeds,
        "seeds_together": {
            **grade_metrics(truth, given),
            "interval_95_over_patients": bootstrap_intervals(
                truth, np.array(given), [members[0]["subject_id"] for members in together.values()]
            ),
        },
    }


def mean_of_seeds(rows: Sequence[Row], task: str) -> dict[str, float]:
    """Metrics of one task, averaged over the seeds."""
    known = [row for row in rows if row["task"] == task]
    seeds = sorted({row["seed"] for row in known})
    figures = [grade_metrics(*pair([row for row in known if row["seed"] == seed])) for seed in seeds]
    return {name: float(np.mean([own[name] for own in figures])) for name in METRICS}


def by_rule(rows: Sequence[Row], task: str) -> dict[str, dict[str, float]]:
    """Metrics, averaged over the seeds, by the rule that makes one grade of the probabilities: the most
    probable, the expected one rounded, the median [D-0072]."""
    grades = np.array(TASKS[task])
    own = [row for row in rows if row["task"] == task]
    shares = np.stack([row["probabilities"] for row in own])
    expected = (shares / shares.sum(1, keepdims=True)) @ np.arange(len(grades))
    places = {
        "most probable": shares.argmax(1),
        "expected": expected.round().astype(int),
        "median": median_classes(shares),
    }
    return {
        rule: mean_of_seeds(
            [{**row, "predicted": grades[n]} for row, n in zip(own, chosen, strict=True)], task
        )
        for rule, chosen in places.items()
    }


def auc(rows: Sequence[Row], task: str) -> dict[str, float]:
    """Area under the ROC curve of each grade against all others; of a finding that of its presence alone.

    A grade that no disc has, or all have, is left out.
    """
    grades, truth = TASKS[task], np.array([row["truth"] for row in rows])
    shares = np.stack([row["probabilities"] for row in rows])
    asked = grades[1:] if len(grades) == 2 else grades
    return {
        str(grade): float(roc_auc_score(truth == grade, shares[:, grades.index(grade)]))
        for grade in asked
        if 0 < (truth == grade).sum() < len(truth)
    }


def normal_or_not(rows: Sequence[Row], task: str) -> dict[str, float]:
    """Accuracy where the lowest grade is normal and every other is not: the protocol of Lootus for disc
    narrowing [jamaludin2016spinenet, Sec. 5], plain and averaged over the two."""
    truth, said = (values > TASKS[task][0] for values in pair(rows))
    metrics = grade_metrics(truth.astype(int), said.astype(int))
    return {
        "accuracy": float((truth == said).mean()),
        "balanced_accuracy": metrics["balanced_accuracy"],
    }


def by_level(rows: Sequence[Row], task: str) -> dict[str, dict[str, float]]:
    """Metrics of one task averaged over the seeds, and discs, by the disc's number from the lowest up."""
    numbers = sorted({row["disc"] for row in rows})
    found = {}
    for number in numbers:
        own = [row for row in rows if row["disc"] == number]
        discs = len({row["case_id"] for row in own})
        found[str(number)] = {"discs": discs, **mean_of_seeds(own, task)}
    return found


def repeatability(
    rows: Sequence[Row],
    repeats: Sequence[Row],
    tasks: Sequence[str],
    calibration: GradeCalibration,
) -> dict[str, dict[str, float]]:
    """For each task how far the expected grades of a disc differ between two scans of one day.

    Args:
        rows: see the module.
        repeats: the same of the second scans.
        tasks: which tasks.
        calibration: of the grader.

    Returns:
        Pairs of scans of a disc by one training, discs, and median and 95th percentile of the difference;
        nothing for a task without a pair.
    """
    key = ("seed", "fold", "task", "subject_id", "disc")
    seconds = {tuple(row[name] for name in key): row["probabilities"] for row in repeats}
    found = {}
    for task in tasks:
        own = [row for row in rows if row["task"] == task and tuple(row[name] for name in key) in seconds]
        if not own:
            continue
        one = np.stack([row["probabilities"] for row in own])
        other = np.stack([seconds[tuple(row[name] for name in key)] for row in own])
        differences = repeated_differences(calibration, task, one, other)
        found[task] = {
            "pairs": len(own),
            "discs": len({(row["subject_id"], row["disc"]) for row in own}),
            "median": float(np.median(differences)),
            "percentile_95": float(np.percentile(differences, 95)),
        }
    return found


def second_reading(
    rows: Sequence[Row], second: Mapping[tuple[str, int], Mapping[str, int]], task: str
) -> dict[str, Any] | None:
    """How far a second reading agrees with the labels: what no grader trained on them can be asked to exceed
    by much (the "intra-rater" column of [jamaludin2016spinenet, Table 2] where one reader read twice).

    Args:
        rows: of any trainings; a disc counts once.
        second: (subject, disc from the lowest up) -> task -> grade.
        task: which task.

    Returns:
        Discs with both readings and metrics; None where there is none.
    """
    labels = {(row["subject_id"], row["disc"]): row["truth"] for row in rows if row["task"] == task}
    both = [disc for disc in labels if task in second.get(disc, {})]
    if not both:
        return None
    truth, said = (
        [reading[disc] for disc in both] for reading in (labels, {d: second[d][task] for d in both})
    )
    return {"discs": len(both), **grade_metrics(truth, said)}


def _mean(entries: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found = list(entries)
    return {key: float(np.mean([own[key] for own in found if key in own])) for key in found[0]}

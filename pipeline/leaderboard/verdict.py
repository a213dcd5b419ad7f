"""What a leaderboard's numbers say, in words: no more than the paired tests do.

A task is *ahead* at a budget where its measure lies above that of training from scratch with the same
labels, *behind* where it lies below, and the difference is told from chance twice: the paired test over
subjects, adjusted over all tasks and budgets, is below :data:`LEVEL`, and the 95 % interval over subjects
*and seeds* leaves out zero, for a test over subjects alone does not see the luck of a training. Anything
else is no difference beyond chance, which is not the same as no difference. How many labels a task that is
ahead saves is said beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from siamed.pipeline.label_efficiency.figures import p_words, saved_words

__all__ = [
    "LEVEL",
    "beyond_chance",
    "few_words",
    "mean_difference",
    "pool_words",
    "ranked",
    "short_verdict",
    "verdict_lines",
]

LEVEL = 0.05
_FEW = 20  # scored subjects below which a reader is reminded of how few they are
_FEW_SEEDS = 3


def beyond_chance(row: Mapping[str, Any]) -> bool:
    """Whether a difference is told from chance, by test and by interval; see the module.

    Args:
        row: a task at a budget.
    """
    low, high = row["difference_interval_95"]
    return bool(row["p_adjusted"] < LEVEL and not low <= 0 <= high)


def mean_difference(summary: Mapping[str, Any], task: str) -> float:
    """Difference to the reference, mean of all budgets.

    Args:
        summary: of :func:`~siamed.pipeline.label_efficiency.statistics.summarize`, and ``measure``.
        task: an arm.
    """
    return float(np.mean([row["difference"] for row in summary["arms"][task]["budgets"]]))


def ranked(summary: Mapping[str, Any]) -> list[str]:
    """The tasks by :func:`mean_difference`, the best first."""
    tasks = [arm for arm in summary["arms"] if arm != summary["reference"]]
    return sorted(tasks, key=lambda task: -mean_difference(summary, task))


def short_verdict(summary: Mapping[str, Any], task: str) -> str:
    """For a table: ``ahead at 2``, ``behind at 4``, both, or ``no difference beyond chance``."""
    ahead, behind = _told(summary, task)
    words = [f"ahead at {_places(summary, ahead)}"] if ahead else []
    words += [f"behind at {_places(summary, behind)}"] if behind else []
    return ", ".join(words) or "no difference beyond chance"


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each task that differs from training from scratch, best first, and one on the others."""
    found = {task: _told(summary, task) for task in ranked(summary)}
    lines = [_nobody(summary)] if not any(ahead for ahead, _ in found.values()) else []
    lines += [_sentence(summary, task, *places) for task, places in found.items() if any(places)]
    rest = [task for task, places in found.items() if not any(places)]
    if rest and len(rest) < len(found):
        lines.append(f"No difference from {_scratch(summary)} beyond chance: {', '.join(rest)}.")
    return lines


def few_words(summary: Mapping[str, Any]) -> str:
    """How much the test can see: scored subjects and seeds, and what it means where they are few."""
    count, seeds = summary["subjects_scored"], summary["seeds"]
    runs = f"{seeds} seed{'s' * (seeds != 1)}"
    words = [f"{_subjects(count)} scored, {runs}."]
    if 2.0 ** (1 - count) >= LEVEL:
        words.append("With so few subjects no difference, however large, can be told from chance.")
    elif count < _FEW:
        words.append("These are few: a difference that is not found may well be there.")
    if seeds < _FEW_SEEDS:
        words.append(f"The test is over subjects: with {runs} a difference may be the luck of a training.")
    return " ".join(words)


def pool_words(
    pools: Sequence[Collection[str]],
    scored: Sequence[Collection[str]],
    unit: str = "fold",
    split: str | None = None,
) -> str:
    """Whether what is scored was pretrained on.

    Args:
        pools: for each fold the subjects whose scans were pretrained on, without labels.
        scored: for each fold those that its trainings are scored on.
        unit: what a fold is called.
        split: name of the split file that the pools are of, where it is not the scored subjects' own.
    """
    sizes = sorted({len(set(pool)) for pool in pools})
    size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    plural = "s" if sizes != [1] else ""
    whose = (
        f"the {size} training subject{plural} of {split}" if split else f"its {size} training subject{plural}"
    )
    words = f"The unlabelled pool of each {unit}: {whose}"
    seen = sum(len(set(pool) & set(those)) for pool, those in zip(pools, scored, strict=True))
    if not seen:
        return f"{words}; no scored subject was in it."
    total = sum(len(set(those)) for those in scored)
    return (
        f"{words}; {seen} of the {total} scored subjects {'were' if seen > 1 else 'was'} in it, without "
        "labels: what is scored has been pretrained on, and other patients may fare worse."
    )


def _told(summary: Mapping[str, Any], task: str) -> tuple[list[int], list[int]]:
    """Places of the budgets at which a task is better, and at which it is worse."""
    rows = summary["arms"][task]["budgets"]
    told = [(place, row["difference"]) for place, row in enumerate(rows) if beyond_chance(row)]
    return [place for place, gain in told if gain > 0], [place for place, gain in told if gain < 0]


def _sentence(summary: Mapping[str, Any], task: str, ahead: list[int], behind: list[int]) -> str:
    parts = [f"{task} is ahead: {_figures(summary, task, ahead)}"] if ahead else []
    parts += [f"{'it' if ahead else task} is behind: {_figures(summary, task, behind)}"] if behind else []
    count = len(summary["subjects_labelled"])
    open_ = [place for place in range(count) if place not in [*ahead, *behind]]
    parts += [f"no difference beyond chance at {_places(summary, open_, 'or')}"] if open_ else []
    if ahead and count > 1:
        parts.append(f"labels saved: {saved_words(summary['arms'][task]['reaches_reference'])}")
    return "; ".join(parts) + "."


def _figures(summary: Mapping[str, Any], task: str, places: list[int]) -> str:
    rows, own = summary["arms"][task]["budgets"], summary["arms"][summary["reference"]]["budgets"]
    return ", ".join(
        f"at {_subjects(summary['subjects_labelled'][place])} {summary['measure']} {rows[place]['mean']:.3f} "
        f"against {own[place]['mean']:.3f} from {summary['reference']} ({p_words(rows[place]['p_adjusted'])})"
        for place in places
    )


def _nobody(summary: Mapping[str, Any]) -> str:
    everywhere = list(range(len(summary["subjects_labelled"])))
    words = (
        f"No task beats {_scratch(summary)} beyond chance at {_places(summary, everywhere, 'or')} labelled "
        f"{'subject' if summary['subjects_labelled'] == [1] else 'subjects'}"
    )
    rows = {(t, n): row for t in ranked(summary) for n, row in enumerate(summary["arms"][t]["budgets"])}
    task, place = max(rows, key=lambda key: rows[key]["difference"])
    row = rows[task, place]
    if row["difference"] <= 0:
        return f"{words}; none lies above it at all."
    low, high = row["difference_interval_95"]
    return (
        f"{words}; the largest difference is that of {task} at {_places(summary, [place])}: "
        f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f}, {p_words(row['p_adjusted'])})."
    )


def _scratch(summary: Mapping[str, Any]) -> str:
    return f"training from {summary['reference']}"


def _places(summary: Mapping[str, Any], places: Sequence[int], word: str = "and") -> str:
    counts = [f"{summary['subjects_labelled'][place]:.0f}" for place in places]
    return counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} {word} {counts[-1]}"


def _subjects(count: float) -> str:
    return f"{count:.0f} subject{'s' * (round(count) != 1)}"

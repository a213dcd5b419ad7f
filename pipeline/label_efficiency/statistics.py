"""What the scores of an experiment say: means, intervals, paired tests, labels saved.

Contract. A :class:`Scores` holds, for each arm and budget, sums ``(seeds, subjects, *S)`` that add up over
subjects (:class:`~siamed.pipeline.label_efficiency.config.Scorer`), seeds and subjects in one order
throughout. A figure is the measure of the sums over all subjects (all folds pooled), averaged over seeds.

interval
    2.5th and 97.5th percentile of a bootstrap that draws subjects and seeds, both with replacement. Subjects
    are drawn whole and alike for all arms.
paired test
    two-sided permutation test: for each subject the two arms' results, all seeds together, trade places with
    probability 1/2; p = (1 + how many exchanges give a difference as large) / (1 + exchanges). Over all tests
    of a table p is adjusted by Benjamini and Hochberg (scipy).
labels saved
    the number of labelled subjects at which an arm reaches what the reference reaches with the most labels,
    linear between budgets; saved = 1 - that number / the most. An arm that is there with its smallest budget
    saves *at least* so many; one that never gets there saves none, and says so. The reference's own number
    stands beside the others': where its curve is not steadily rising it gets there early itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

__all__ = ["Scores", "adjust", "labels_saved", "reach", "summarize"]

Figure = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Sums by arm and budget; see the module.

    Args:
        arms: names.
        subjects_labelled: labelled subjects of each budget, the mean over folds; rising.
        sums: (arm, place of the budget) -> ``(seeds, subjects, *S)``.
    """

    arms: tuple[str, ...]
    subjects_labelled: tuple[float, ...]
    sums: Mapping[tuple[str, int], np.ndarray]

    def __post_init__(self) -> None:
        if list(self.subjects_labelled) != sorted(set(self.subjects_labelled)):
            raise ValueError(f"subjects_labelled must rise, got {list(self.subjects_labelled)}")
        shapes = {value.shape for value in self.sums.values()}
        if len(shapes) != 1 or len(self.sums) != len(self.arms) * len(self.subjects_labelled):
            raise ValueError(
                f"sums must hold one array of one shape for each arm and budget, got {len(self.sums)} with "
                f"shapes {sorted(shapes)}"
            )

    def part(self, place: int) -> Scores:
        """Of sums ``(seeds, subjects, parts, *S)`` those of one part."""
        sums = {key: value[:, :, place] for key, value in self.sums.items()}
        return Scores(self.arms, self.subjects_labelled, sums)

    def figures(self, arm: str, figure: Figure, weights: np.ndarray | None = None) -> np.ndarray:
        """Figure of each budget and seed.

        Args:
            arm: its name.
            figure: from sums over subjects.
            weights: ``(draws, subjects)``, how often each subject counts; None: once.

        Returns:
            ``(budgets, seeds)``, or ``(budgets, seeds, draws)``.
        """
        parts = []
        for place in range(len(self.subjects_labelled)):
            sums = self.sums[arm, place]
            if weights is None:
                parts.append(figure(sums.sum(1)))
            else:
                flat = sums.reshape(*sums.shape[:2], -1)
                drawn = np.einsum("dp,spk->sdk", weights, flat)
                parts.append(figure(drawn.reshape(len(sums), len(weights), *sums.shape[2:])))
        return np.stack(parts)


def reach(counts: Sequence[float], values: Sequence[float] | np.ndarray, target: float) -> float:
    """Number of labels at which a curve reaches a target, linear between its points; inf if it never does.

    Example:
        >>> reach([10, 20, 40], [0.4, 0.5, 0.7], 0.6)
        30.0
    """
    for i, value in enumerate(values):
        if value >= target:
            if i == 0:
                return float(counts[0])
            share = (target - values[i - 1]) / (value - values[i - 1])
            return float(counts[i - 1] + share * (counts[i] - counts[i - 1]))
    return float("inf")


def labels_saved(counts: Sequence[float], values: Sequence[float] | np.ndarray, target: float) -> float:
    """Share of the labels that a curve does without to reach a target; negative infinity if it never does."""
    return 1 - reach(counts, values, target) / counts[-1]


def summarize(
    scores: Scores, figure: Figure, reference: str, draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Everything that a table and a plot need.

    Args:
        scores: of complete seeds.
        figure: from sums over subjects, higher is better.
        reference: the arm that the others are compared with.
        draws: of the bootstrap and of each permutation test.
        seed: of both.
    """
    rng = np.random.default_rng(seed)
    seeds, subjects = next(iter(scores.sums.values())).shape[:2]
    weights = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=draws)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds  # (draws, seeds)
    plain = {arm: scores.figures(arm, figure) for arm in scores.arms}
    drawn = {
        arm: np.einsum("bsd,ds->bd", scores.figures(arm, figure, weights), of_seeds) for arm in scores.arms
    }
    mean = {arm: values.mean(1) for arm, values in plain.items()}
    others = [arm for arm in scores.arms if arm != reference]
    tests = {
        (arm, place): _permutation(scores.sums[arm, place], scores.sums[reference, place], figure, draws, rng)
        for arm in others
        for place in range(len(scores.subjects_labelled))
    }
    counts = scores.subjects_labelled
    target = mean[reference][-1]
    summary: dict[str, Any] = {
        "reference": reference,
        "seeds": seeds,
        "subjects_scored": subjects,
        "subjects_labelled": list(counts),
        "draws": draws,
        "arms": {},
    }
    for arm in scores.arms:
        rows = []
        for place in range(len(counts)):
            row: dict[str, Any] = {
                "mean": float(mean[arm][place]),
                "interval_95": _interval(drawn[arm][place]),
                "seeds": plain[arm][place].tolist(),
            }
            if arm != reference:
                row["difference"] = float(mean[arm][place] - mean[reference][place])
                row["difference_interval_95"] = _interval(drawn[arm][place] - drawn[reference][place])
                row["p"] = tests[arm, place]
            rows.append(row)
        reached = _reaching(counts, mean[arm], target, drawn[arm], drawn[reference][-1])
        summary["arms"][arm] = {"budgets": rows, "reaches_reference": reached}
    adjust([summary])
    return summary


def adjust(summaries: Sequence[dict[str, Any]]) -> None:
    """Adjust p over all tests of one table, which may hold several summaries; changed in place."""
    rows = [
        row
        for summary in summaries
        for entry in summary["arms"].values()
        for row in entry["budgets"]
        if "p" in row
    ]
    if rows:
        for row, value in zip(rows, false_discovery_control([row["p"] for row in rows]), strict=True):
            row["p_adjusted"] = float(value)


def _interval(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.nanpercentile(values, [2.5, 97.5])]


def _permutation(
    one: np.ndarray, other: np.ndarray, figure: Figure, draws: int, rng: np.random.Generator
) -> float:
    seeds, subjects = one.shape[:2]
    total = np.stack([one.sum(1), other.sum(1)])  # (2, seeds, *S)
    observed = np.abs(np.diff(figure(total).mean(1)))[0]
    trade = rng.random((draws, subjects)) < 0.5
    gap = (other - one).reshape(seeds, subjects, -1)
    moved = np.einsum("dp,spk->sdk", trade.astype(float), gap).reshape(seeds, draws, *one.shape[2:])
    first = figure(one.sum(1)[:, None] + moved).mean(0)
    second = figure(other.sum(1)[:, None] - moved).mean(0)
    return float((1 + (np.abs(first - second) >= observed - 1e-12).sum()) / (1 + draws))


def _reaching(
    counts: Sequence[float],
    values: np.ndarray,
    target: float,
    drawn_values: np.ndarray,
    drawn_targets: np.ndarray,
) -> dict[str, Any]:
    # drawn_values (budgets, draws) and drawn_targets (draws,): the same of each draw of the bootstrap
    needed = reach(counts, values, target)
    samples = np.array(
        [labels_saved(counts, curve, goal) for curve, goal in zip(drawn_values.T, drawn_targets, strict=True)]
    )
    there = np.isfinite(samples)
    return {
        "target": float(target),
        "subjects": needed if np.isfinite(needed) else None,
        "saved": labels_saved(counts, values, target) if np.isfinite(needed) else None,
        "with_the_smallest_budget": bool(values[0] >= target),
        "share_of_draws_that_reach_it": float(there.mean()),
        "saved_interval_95": _interval(np.where(there, samples, 0.0)),
    }

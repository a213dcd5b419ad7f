"""The experiment to look at: a curve an arm over labelled subjects, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = [
    "budget_heads",
    "cell_words",
    "draw_curves",
    "draw_epochs",
    "draw_parts",
    "markdown_parts",
    "markdown_table",
    "p_words",
]


def draw_curves(summary: Mapping[str, Any], measure: str, title: str) -> Figure:
    """The measure of each arm against the number of labelled subjects [jamaludin2017ssl, Fig. 8].

    Args:
        summary: of :func:`~siamed.pipeline.label_efficiency.statistics.summarize`.
        measure: what the upright axis shows.
        title: over the plot.

    Returns:
        The figure, with 95 % intervals over subjects and seeds; the caller owns it.
    """
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    counts, arms = summary["subjects_labelled"], summary["arms"]
    span = counts[-1] - counts[0]
    for place, (arm, entry) in enumerate(arms.items()):
        rows = entry["budgets"]
        mean = [row["mean"] for row in rows]
        below = [max(0.0, m - row["interval_95"][0]) for m, row in zip(mean, rows, strict=True)]
        above = [max(0.0, row["interval_95"][1] - m) for m, row in zip(mean, rows, strict=True)]
        # Side by side, so that intervals of one budget do not hide each other.
        at = [count + (place - (len(arms) - 1) / 2) * 0.008 * span for count in counts]
        style: dict[str, Any] = {"color": "black", "linestyle": "--"} if arm == summary["reference"] else {}
        axes.errorbar(
            at, mean, [below, above], marker="o", markersize=4, capsize=2, label=_words(arm), **style
        )
    axes.axhline(arms[summary["reference"]]["budgets"][-1]["mean"], color="gray", linewidth=0.8)
    axes.set_xticks(counts, [f"{count:.0f}" for count in counts])
    axes.set_xlabel("labelled subjects")
    axes.set_ylabel(measure)
    axes.set_title(title)
    axes.legend(fontsize="small")
    return figure


def draw_epochs(
    watched: Mapping[str, Mapping[int, Sequence[float]]], metric: str, title: str, reference: str
) -> Figure:
    """How each arm learns: a metric on the watched subjects epoch by epoch [dhere2021, Fig. 5].

    Args:
        watched: arm -> epoch -> the metric of every fold and seed.
        metric: its name.
        title: over the plot.
        reference: the arm that the others are compared with.

    Returns:
        The figure: means over folds and seeds, and bands of one standard error; the caller owns it.
    """
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for arm, values in watched.items():
        epochs = sorted(values)
        mean = np.array([np.mean(values[epoch]) for epoch in epochs])
        error = np.array([np.std(values[epoch]) / np.sqrt(len(values[epoch])) for epoch in epochs])
        style: dict[str, Any] = {"color": "black", "linestyle": "--"} if arm == reference else {}
        (line,) = axes.plot(epochs, mean, marker="o", markersize=3, label=_words(arm), **style)
        axes.fill_between(epochs, mean - error, mean + error, color=line.get_color(), alpha=0.15)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.set_title(title)
    axes.legend(fontsize="small")
    return figure


def markdown_table(summary: Mapping[str, Any], budgets: Sequence[str], measure: str) -> str:
    """The figures as Markdown: a row an arm, a column a budget, and what the arm saves.

    Args:
        summary: see :func:`draw_curves`.
        budgets: as configured, in order.
        measure: what is measured.
    """
    several = len(budgets) > 1  # with one budget there is nothing to save
    heads = budget_heads(summary, budgets)
    lines = [
        f"{measure}: mean of {summary['seeds']} seeds over {summary['subjects_scored']} held-out subjects, "
        f"95 % interval over subjects and seeds; against `{summary['reference']}` the paired difference and, "
        "over all comparisons of the table, adjusted p.",
        "",
        "| arm | " + " | ".join(heads) + (" | labels saved |" if several else " |"),
        "|---" * (len(heads) + 1 + several) + "|",
    ]
    for arm, entry in summary["arms"].items():
        cells = [cell_words(row) for row in entry["budgets"]]
        if several:
            cells.append(saved_words(entry["reaches_reference"], arm == summary["reference"]))
        lines.append(f"| {_words(arm)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_parts(parts: Mapping[str, Mapping[str, Any]], measure: str, title: str) -> Figure:
    """The measure of each part and arm, with the most labels.

    Args:
        parts: name -> summary, see :func:`draw_curves`.
        measure: what the upright axis shows.
        title: over the plot.

    Returns:
        The figure, with 95 % intervals over subjects and seeds; the caller owns it.
    """
    figure = Figure(figsize=(max(6.0, 1.3 * len(parts)), 4.8), layout="constrained")
    axes = figure.subplots()
    first = next(iter(parts.values()))
    arms, reference = list(first["arms"]), first["reference"]
    for place, arm in enumerate(arms):
        rows = [summary["arms"][arm]["budgets"][-1] for summary in parts.values()]
        at = [n + (place - (len(arms) - 1) / 2) * 0.7 / len(arms) for n in range(len(parts))]
        spans = [[row["mean"] - row["interval_95"][0] for row in rows]]
        spans += [[row["interval_95"][1] - row["mean"] for row in rows]]
        style: dict[str, Any] = {"color": "black"} if arm == reference else {}
        axes.errorbar(
            at,
            [row["mean"] for row in rows],
            [[max(0.0, span) for span in side] for side in spans],
            marker="o",
            markersize=4,
            capsize=2,
            linestyle="none",
            label=_words(arm),
            **style,
        )
    axes.set_xticks(range(len(parts)), [_words(name) for name in parts], rotation=20, ha="right")
    axes.set_ylabel(measure)
    axes.set_title(title)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.grid(axis="y", linewidth=0.4)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def markdown_parts(parts: Mapping[str, Mapping[str, Any]], budget: str, measure: str) -> str:
    """A row a part, a column an arm, as a table of tasks by branch points [jamaludin2016spinenet, Table 2].

    Args:
        parts: name -> summary, see :func:`draw_curves`.
        budget: the largest, as configured; it is the one shown.
        measure: what is measured.
    """
    arms = list(next(iter(parts.values()))["arms"])
    lines = [
        f"{measure} with {budget} of the labels, part by part, written as above; p over this table.",
        "",
        "| | " + " | ".join(_words(arm) for arm in arms) + " |",
        "|---" * (len(arms) + 1) + "|",
    ]
    for name, summary in parts.items():
        cells = [cell_words(summary["arms"][arm]["budgets"][-1]) for arm in arms]
        lines.append(f"| {_words(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _words(arm: str) -> str:
    return arm.replace("_", " ")


def budget_heads(summary: Mapping[str, Any], budgets: Sequence[str]) -> list[str]:
    """Budgets as configured, shares with the number of subjects that they are: ``10% (14)``."""
    counts = summary["subjects_labelled"]
    return [
        f"{text} ({count:.0f})" if "%" in text else text for text, count in zip(budgets, counts, strict=True)
    ]


def cell_words(row: Mapping[str, Any]) -> str:
    """The figures of an arm and a budget: ``0.500 (0.400 to 0.600); +0.100, p 0.012``."""
    low, high = row["interval_95"]
    text = f"{row['mean']:.3f} ({low:.3f} to {high:.3f})"
    if "difference" in row:
        text += f"; {row['difference']:+.3f}, {p_words(row['p_adjusted'])}"
    return text


def p_words(p: float) -> str:
    """``p 0.012``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def saved_words(found: Mapping[str, Any], is_reference: bool = False) -> str:
    """The labels that an arm does without: ``at least 50 % (15 to 50)``.

    Args:
        found: ``reaches_reference`` of an arm, of
            :func:`~siamed.pipeline.label_efficiency.statistics.summarize`.
        is_reference: of the arm that the others are compared with, which may be early itself.
    """
    if is_reference:
        early = f", itself there with {100 * found['saved']:.0f} % fewer" if found["saved"] >= 0.005 else ""
        return f"reference{early}"
    if found["saved"] is None:
        return f"does not reach {found['target']:.3f}"
    low, high = (100 * bound for bound in found["saved_interval_95"])
    least = "at least " if found["with_the_smallest_budget"] and found["saved"] > 0 else ""
    return f"{least}{100 * found['saved']:.0f} % ({low:.0f} to {high:.0f})"

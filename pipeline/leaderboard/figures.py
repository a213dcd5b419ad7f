"""The leaderboard to look at: a table, and how far each task lies from training from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from siamed.pipeline.label_efficiency.figures import budget_heads, cell_words, saved_words

from .spent import Spent
from .verdict import beyond_chance

__all__ = ["draw_ranking", "markdown_board"]


def draw_ranking(board: Mapping[str, Any]) -> Figure:
    """A row a task, the best on top: its difference to the reference at each budget, with its interval.

    Args:
        board: content of ``leaderboard.json``.

    Returns:
        The figure, with 95 % intervals over subjects and seeds; filled where the difference is
        :func:`~siamed.pipeline.leaderboard.verdict.beyond_chance`. The caller owns it.
    """
    tasks, heads = board["tasks"], budget_heads(board, board["budgets"])
    figure = Figure(figsize=(7.5, 1.6 + 0.5 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=1)
    for place, head in enumerate(heads):
        color = f"C{place}"
        for row, task in enumerate(tasks.values()):
            found = task["budgets"][place]
            at = row + (place - (len(heads) - 1) / 2) * 0.5 / len(heads)
            face = color if beyond_chance(found) else "white"
            axes.plot(found["difference_interval_95"], [at, at], color=color, linewidth=1.5)
            axes.plot(found["difference"], at, "o", color=color, markerfacecolor=face, markersize=7)
        axes.plot([], [], "o-", color=color, label=f"{head} labelled")
    axes.set_yticks(range(len(tasks)), list(tasks))
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    reference = board["reference"]["name"]
    axes.set_xlabel(f"{board['measure']}, difference to {reference} (filled: beyond chance)")
    seeds = len(board["whole_seeds"])
    axes.set_title(
        f"{board['name'].replace('_', ' ')}, {board['subjects_scored']} scored subjects, "
        f"{seeds} seed{'s' * (seeds != 1)}"
    )
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def markdown_board(board: Mapping[str, Any], folds: int) -> str:
    """The leaderboard as Markdown: a row a task, the best on top, then the verdict.

    Args:
        board: content of ``leaderboard.json``.
        folds: how many were left out in turn.
    """
    measure, reference, seeds = board["measure"], board["reference"], len(board["whole_seeds"])
    several = len(board["budgets"]) > 1  # with one budget there is nothing to save
    columns = [
        "task",
        *(f"{measure}, {head} labelled" for head in budget_heads(board, board["budgets"])),
        "handed on",
        "pretraining, minutes a fold",
        "a training, minutes",
        "the task itself (chance)",
        "verdict",
        *(["labels saved"] if several else []),
    ]
    lines = [
        f"# {board['name']}: which self-supervised task saves labels?",
        "",
        f"{measure} of {board['bundle']}: mean of {seeds} seed{'s' * (seeds != 1)} over "
        f"{board['subjects_scored']} scored subjects, 95 % interval over subjects and seeds; then the paired "
        f"difference to `{reference['name']}` and p, adjusted over all tasks and budgets. Ahead or behind is "
        f"what p below {board['level']:g} and an interval of the difference without zero tell from chance. "
        "Rows are in the order of the mean difference; whether neighbors differ from each other is not "
        "tested. Minutes are wall-clock time; those of a task that starts from another hold the other's. The "
        "task itself is scored on subjects that its pretraining watches without training on them.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *(_row(name, task, folds, several) for name, task in board["tasks"].items()),
        _row(reference["name"], reference, folds, several),
        "",
        *(f"- {sentence}" for sentence in (*board["verdict"], board["pool"]["words"])),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, task: Mapping[str, Any], folds: int, several: bool) -> str:
    score, training = task.get("score"), Spent(**task["training"])
    cells = [
        name + (f" (after {', '.join(task['after'])})" if task.get("after") else ""),
        *(cell_words(row) for row in task["budgets"]),
        " and ".join(task.get("hands_on", ["nothing"])),
        Spent(**task["pretraining"]).minutes(folds) if "pretraining" in task else "none",
        training.minutes(training.runs),
        f"{score['score']:.2f} ({score['chance']:.2f})" if score else "",
        task.get("verdict", "reference"),
    ]
    if several:
        cells.append(saved_words(task["reaches_reference"], "verdict" not in task))
    return f"| {' | '.join(cells)} |"

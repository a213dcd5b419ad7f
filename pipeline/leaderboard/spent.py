"""What a task cost and how well it was solved, from the records that its runs left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from siamed.pipeline.experiments.files import read_json
from siamed.pipeline.experiments.record import RUN_FILE
from siamed.pipeline.tracking import HISTORY_FILE

__all__ = ["Spent", "spent_in", "task_scores"]


@dataclass(frozen=True)
class Spent:
    """Wall-clock time of runs.

    Args:
        seconds: of all of them.
        runs: how many say when they began and ended.
        at_least: whether one was stopped and resumed: only its last go is counted.
    """

    seconds: float = 0.0
    runs: int = 0
    at_least: bool = False

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.runs + other.runs, self.at_least or other.at_least)

    def minutes(self, among: int) -> str:
        """Minutes of one of so many, in words."""
        if not self.runs:
            return "unknown"
        value = self.seconds / 60 / among
        return f"{'at least ' * self.at_least}{value:.1f}" if value >= 0.05 else "below 0.1"


def spent_in(folders: Iterable[Path]) -> Spent:
    """Wall-clock time of runs that have ended.

    Args:
        folders: of runs; one without a record, or without an end in it, is not counted.
    """
    found = Spent()
    for folder in folders:
        record = read_json(folder / RUN_FILE) or {}
        if record.get("started") and record.get("ended"):
            began, ended = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
            found += Spent((ended - began).total_seconds(), 1, record.get("resumed_after_epoch") is not None)
    return found


def task_scores(folders: Iterable[Path]) -> dict[str, float] | None:
    """How well a task was solved on subjects that were watched, and by chance: mean of its runs.

    Args:
        folders: of runs whose history has ``val_score`` and ``val_chance``; the last of each counts.

    Returns:
        ``score`` and ``chance``; None if no run has them.
    """
    names, last = ("score", "chance"), []
    for folder in folders:
        rows = read_json(folder / HISTORY_FILE) or []
        last += [row for row in rows if all(f"val_{name}" in row for name in names)][-1:]
    if not last:
        return None
    return {name: float(np.mean([row[f"val_{name}"] for row in last])) for name in names}

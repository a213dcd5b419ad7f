"""What can be graded, as data: a file a set of tasks, each with its name, title, grades and weight.

``spider.json`` has SPIDER's eight gradings, ``spinenet.json`` the six scores of the paper. A set of one's own
is a file of the same form, made known by :func:`add_task_set` before networks, crops or results are read.
Grades are counted as their standard counts them; in tensors a grade is its place in the list.

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = [
    "GRADES",
    "SPIDER",
    "SPINENET",
    "Task",
    "add_task_set",
    "is_ordered",
    "loss_weights",
    "read_task_set",
    "task_title",
    "value_title",
]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ABSENT_PRESENT = ("no", "yes")


@dataclass(frozen=True)
class Task:
    """One thing that is graded.

    Args:
        name: in files and tensors.
        title: for people.
        grades: rising.
        weight: of its loss beside the other tasks of its set.
        words: a word a grade, for people; None says the number, or no and yes of 0 and 1.
        ordered: each grade is worse than the one before; types are not.
    """

    name: str
    title: str
    grades: tuple[int, ...]
    weight: float = 1.0
    words: tuple[str, ...] | None = None
    ordered: bool = False


def read_task_set(text: str) -> tuple[Task, ...]:
    """Tasks of a file's text.

    Raises:
        ValueError: naming the task, the rule and the value.
    """
    entries = json.loads(text)["tasks"]
    tasks = tuple(_task(entry) for entry in entries)
    names = [task.name for task in tasks]
    if not tasks or len(set(names)) < len(names):
        raise ValueError(f"tasks must be named once each and at least one, got {names}")
    return tasks


def _task(entry: Mapping[str, Any]) -> Task:
    name, grades = str(entry.get("name")), tuple(entry.get("grades", ()))
    if not _NAME.fullmatch(name):
        raise ValueError(f"name of a task must be of small letters, digits and _, got {name!r}")
    whole = all(isinstance(grade, int) and grade >= 0 for grade in grades)
    if not whole or len(grades) < 2 or list(grades) != sorted(set(grades)):
        raise ValueError(
            f"grades of {name} must be two or more rising whole numbers from 0, got {list(grades)}"
        )
    words = tuple(entry["words"]) if "words" in entry else None
    if words is not None and len(words) != len(grades):
        raise ValueError(f"words of {name} must be {len(grades)}, one a grade, got {len(words)}")
    title, weight = str(entry.get("title", name)), float(entry.get("weight", 1.0))
    return Task(name, title, grades, weight, words, bool(entry.get("ordered", False)))


def _shipped(name: str) -> tuple[Task, ...]:
    return read_task_set(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))


SPIDER = _shipped("spider")
"""SPIDER's gradings [vandergraaf2024spider], in the order of the shipped grader's scores."""
SPINENET = _shipped("spinenet")
"""The paper's scores [jamaludin2016spinenet, Table 1]."""
_KNOWN: dict[str, Task] = {}
GRADES: dict[str, tuple[int, ...]] = {}
"""Every known task -> its grades."""


def _add(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        if _KNOWN.get(task.name, task).grades != task.grades:
            raise ValueError(
                f"name of a task must not be taken by another, {task.name} has the grades "
                f"{list(GRADES[task.name])}; got {list(task.grades)}"
            )
    _KNOWN.update({task.name: task for task in tasks})
    GRADES.update({task.name: task.grades for task in tasks})


def add_task_set(path: str | Path) -> tuple[Task, ...]:
    """Make the tasks of a file known.

    Raises:
        ValueError: as :func:`read_task_set`, or if a name is taken by a task with other grades.
    """
    tasks = read_task_set(Path(path).read_text(encoding="utf-8"))
    _add(tasks)
    return tasks


_add(SPIDER)
_add(SPINENET)


def is_ordered(task: str) -> bool:
    """Whether each grade of a task is worse than the one before."""
    return task in _KNOWN and _KNOWN[task].ordered


def loss_weights(tasks: Sequence[str]) -> list[float]:
    """Weight of each task's loss, as its set has it."""
    return [_KNOWN[task].weight for task in tasks]


def task_title(task: str) -> str:
    """Return a task's name as a heading; an unknown one is spelled out from its own."""
    return _KNOWN[task].title if task in _KNOWN else task.replace("_", " ").capitalize()


def value_title(task: str, grade: int, classes: int) -> str:
    """Return a class in words: the task's own, "no" and "yes" for findings, and the number for the rest.

    Example:
        >>> value_title("herniation", 1, 2), value_title("modic", 0, 4), value_title("pfirrmann", 4, 5)
        ('yes', 'none', '4')
    """
    known = _KNOWN.get(task)
    if known is not None and known.words is not None and grade in known.grades:
        return known.words[known.grades.index(grade)]
    if classes == 2 and grade in (0, 1):
        return _ABSENT_PRESENT[grade]
    return str(grade)

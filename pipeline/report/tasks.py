"""Grades in words, for people: names of the tasks and of what their classes mean."""

from __future__ import annotations

__all__ = ["task_title", "value_title"]

_TITLES = {
    "pfirrmann": "Pfirrmann grade",
    "modic": "Modic changes",
    "upper_endplate": "Upper endplate changes",
    "lower_endplate": "Lower endplate changes",
    "spondylolisthesis": "Spondylolisthesis",
    "herniation": "Disc herniation",
    "disc_herniation": "Disc herniation",
    "narrowing": "Disc narrowing",
    "disc_narrowing": "Disc narrowing",
    "bulging": "Disc bulging",
    "disc_bulging": "Disc bulging",
}
_MODIC = {0: "none", 1: "type 1", 2: "type 2", 3: "type 3"}
_ABSENT_PRESENT = ("no", "yes")


def task_title(task: str) -> str:
    """Return a task's name as a heading; an unknown one is spelled out from its own."""
    return _TITLES.get(task, task.replace("_", " ").capitalize())


def value_title(task: str, grade: int, classes: int) -> str:
    """Return a class in words: "no" and "yes" for findings, Modic types, and the number for the rest.

    Example:
        >>> value_title("herniation", 1, 2), value_title("modic", 0, 4), value_title("pfirrmann", 4, 5)
        ('yes', 'none', '4')
    """
    if task == "modic":
        return _MODIC.get(grade, str(grade))
    if classes == 2 and grade in (0, 1):
        return _ABSENT_PRESENT[grade]
    return str(grade)

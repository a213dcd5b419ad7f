"""Tasks of a network: how many classes they have, and how a grade becomes a class index.

Outside of tensors a grade is counted as its standard counts it: Pfirrmann 1 to 5 [pfirrmann2001], Modic
type 0 (none) to 3, findings 0 (absent) and 1 (present) [vandergraaf2024spider]. In tensors it is its place
in :data:`TASKS`, and ``MISSING`` where it is not known. What tasks there are: :mod:`siamed.pipeline.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from siamed.networks.losses.multi_task import MISSING
from siamed.pipeline.tasks import GRADES as TASKS
from siamed.pipeline.tasks import is_ordered

__all__ = ["MISSING", "TASKS", "class_counts", "class_indices", "given_classes", "median_classes"]


def class_counts(tasks: Sequence[str]) -> list[int]:
    """Number of classes of each task.

    Raises:
        ValueError: if a task is not one of :data:`TASKS`.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ValueError(f"tasks must be some of {list(TASKS)}, got {list(tasks)}")
    return [len(TASKS[task]) for task in tasks]


def class_indices(grades: Mapping[str, int], tasks: Sequence[str]) -> list[int]:
    """Class index of each task, ``MISSING`` where the grade is absent.

    Raises:
        ValueError: if a grade is none that its standard knows.
    """
    class_counts(tasks)
    for task in tasks:
        if task in grades and grades[task] not in TASKS[task]:
            raise ValueError(f"{task} must be one of {TASKS[task]}, got {grades[task]}")
    return [TASKS[task].index(grades[task]) if task in grades else MISSING for task in tasks]


def given_classes(task: str, shares: np.ndarray) -> np.ndarray:
    """The class that is given to each disc: of ordered grades the median, which makes the expected distance
    from the true grade smallest, of others the most probable [D-0072].

    Args:
        task: its name.
        shares: ``(..., C)`` probabilities of its grades.

    Example:
        >>> given_classes("pfirrmann", np.array([0.0, 0.4, 0.35, 0.25, 0.0])) + 1
        3
    """
    shares = np.asarray(shares, float)
    return median_classes(shares) if is_ordered(task) else shares.argmax(-1)


def median_classes(shares: np.ndarray) -> np.ndarray:
    """The first class up to which probabilities ``(..., C)`` reach a half of their sum."""
    below = shares.cumsum(-1) < 0.5 * shares.sum(-1, keepdims=True) - 1e-9
    return below.sum(-1)

"""Grading of intervertebral discs: tasks, crops to train on, the grader, metrics, cross-validation."""

from __future__ import annotations

from .grader import DiscGrader
from .tasks import TASKS

__all__ = ["TASKS", "DiscGrader"]

"""What a pair is asked, and which columns of the table answer it.

``same_person``: are both volumes of one subject? Both are of one level; a negative's second volume is one of
another family in the same sequence [jamaludin2017ssl, Sec. 2.2], [D-0060].
``same_side``: are both kidneys right ones, or both left ones? Both are of two scans; a negative's second
volume is the other kidney of the scan that the second one comes from [dhere2021, Sec. 2], [D-0074].

Either way positive and negative pairs differ in what is asked alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .volumes import VolumeTable, level_indices

__all__ = ["QUESTIONS", "Question", "question_of"]


@dataclass(frozen=True)
class Question:
    """Columns of :class:`~siamed.pipeline.pairs.volumes.VolumeTable` by the part they play.

    Args:
        name: of the question.
        identity: what both volumes of a positive pair share, and those of a negative one do not.
        of_one_level: every pair is of one level.
        exchanged_within: a negative's second volume is exchanged for another one that shares this.
        families: identities of one family never make a negative pair.
        same: positive pairs, in words.
        other: negative pairs, in words.
    """

    name: str
    identity: str
    of_one_level: bool
    exchanged_within: str
    families: bool
    same: str
    other: str

    def identities(self, table: VolumeTable) -> np.ndarray:
        """``(N,)`` int, one number an identity."""
        return codes(table[self.identity])

    def levels(self, table: VolumeTable) -> np.ndarray:
        """``(N,)`` int: the class of the level that a pair shares; 0 where pairs share none."""
        return level_indices(table) if self.of_one_level else np.zeros(len(table), np.int64)


def codes(names: np.ndarray) -> np.ndarray:
    """A number for each name, ``(N,)`` int."""
    return np.unique(names.astype(str), return_inverse=True)[1]


QUESTIONS = {
    question.name: question
    for question in (
        Question("same_person", "subject_id", True, "sequence", True, "same person", "two persons"),
        Question("same_side", "level", False, "scan_id", False, "same side", "two sides"),
    )
}


def question_of(name: str) -> Question:
    """The question of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in QUESTIONS:
        raise ValueError(f"question must be one of {list(QUESTIONS)}, got {name!r}")
    return QUESTIONS[name]

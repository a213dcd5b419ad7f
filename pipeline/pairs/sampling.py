"""Pairs of volumes that are positive or negative by one question: the same person, the same side.

For the same person [jamaludin2017ssl, Sec. 2.2]: a pair is of one level. Positive: two acquisitions of one
subject. Negative: the second volume is replaced by one of another family that was acquired alike (same
sequence), so that neither level, nor sequence, nor the subject's share of the data tells positive from
negative [D-0060]. What plays these parts for other questions: :mod:`siamed.pipeline.pairs.question`.

The index is one sort of the volumes and a few integer arrays; a draw takes constant time whatever the size
of the table, and a negative is drawn by skipping the family's block, without trial and error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .question import codes, question_of
from .volumes import VolumeTable

__all__ = ["Pairs", "PairSampler"]


@dataclass(frozen=True)
class Pairs:
    """Drawn pairs; each array is ``(N,)``.

    Args:
        first: row of the table.
        second: row of the table, of the same level.
        same: whether both are of one identity: one person, one side.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


class PairSampler:
    """Draw pairs from a table of volumes.

    Args:
        table: the volumes.
        positive_share: expected share of positive pairs, in [0, 1].
        twins_are_negatives: whether a subject may be paired with another one of its family.
        candidates: negatives that are looked at for each one taken; of several the nearest to the first
            volume by :meth:`learn`'s embeddings is taken (hard negatives); before it has any, a random
            one. 1: random negatives.
        question: what is asked of a pair, see :mod:`siamed.pipeline.pairs.question`. The words of this class
            are those of "same_person".

    Raises:
        ValueError: if an argument is out of range, no subject has two acquisitions of a level, or none of
            those levels shows two families in the sequences that are asked for.

    Randomness: all of it from the generator that is passed in.
    """

    def __init__(
        self,
        table: VolumeTable,
        positive_share: float = 0.5,
        twins_are_negatives: bool = False,
        candidates: int = 1,
        question: str = "same_person",
    ) -> None:
        if not 0 <= positive_share <= 1:
            raise ValueError(f"positive_share must lie in [0, 1], got {positive_share}")
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        self.positive_share, self.candidates = positive_share, candidates
        self._embeddings: np.ndarray | None = None
        asked = question_of(question)
        level, subject = asked.levels(table).astype(np.int8), asked.identities(table)
        sequence, scan = codes(table[asked.exchanged_within]), codes(table["scan_id"])
        family = codes(table.families) if asked.families and not twins_are_negatives else subject
        # Pools of negatives: one level, one sequence; within them each family lies in one block.
        self._pooled = np.lexsort((scan, family, sequence, level))
        pool = np.stack([level, sequence])[:, self._pooled]
        self._pool_start, self._pool_end = _blocks(pool)
        self._family_start, self._family_end = _blocks(np.vstack([pool, family[self._pooled]]))
        self._place = np.empty(len(table), np.int64)  # row of the table -> place in the pools
        self._place[self._pooled] = np.arange(len(table))
        # Groups of positives: one level of one subject, two acquisitions or more.
        self._grouped = np.lexsort((scan, subject, level))
        self._group_start, self._group_end = _blocks(np.stack([level, subject])[:, self._grouped])
        self._groups = np.unique(self._group_start[self._group_end - self._group_start > 1])
        if not len(self._groups):
            what = f"{asked.identity.removesuffix('_id')} twice" + " at one level" * asked.of_one_level
            raise ValueError(f"table must show at least one {what}, it shows none")
        members = self._grouped[np.flatnonzero(self._group_end - self._group_start > 1)]
        lonely = self._others(members) == 0
        if lonely.any():
            row = members[lonely][0]
            raise ValueError(
                f"table must show {'two families' if asked.families else asked.other} at "
                f"{table['level'][row]} in {table[asked.exchanged_within][row]}, negative pairs cannot be "
                "drawn there"
            )

    def learn(self, embeddings: np.ndarray) -> None:
        """Take embeddings ``(N, E)``, a row a volume of the table, by which negatives are hard."""
        if len(embeddings) != len(self._place):
            raise ValueError(f"embeddings must have {len(self._place)} rows, got {len(embeddings)}")
        self._embeddings = np.asarray(embeddings, np.float32)

    @property
    def has_learned(self) -> bool:
        """Whether embeddings are known."""
        return self._embeddings is not None

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """Draw pairs, positive ones with a chance of ``positive_share`` each.

        Args:
            count: number of pairs.
            rng: where all randomness comes from.
        """
        groups = self._groups[rng.integers(len(self._groups), size=count)]
        first, second = self._two_of(groups, rng)
        same = rng.random(count) < self.positive_share
        second[~same] = self._negatives(first[~same], second[~same], rng)
        return Pairs(first, second, same)

    def draw_positives(self, count: int, rng: np.random.Generator) -> Pairs:
        """Draw positive pairs for losses over all pairs of a batch: every subject and level in turn, in
        random order, before any comes again.

        Batches then mix levels, which batch normalization needs: in batches of one level it would hide what
        the level looks like.

        Args:
            count: number of pairs.
            rng: where all randomness comes from.
        """
        rounds = -(-count // len(self._groups))
        groups = np.concatenate([rng.permutation(self._groups) for _ in range(rounds)] or [self._groups])
        first, second = self._two_of(groups[:count], rng)
        return Pairs(first, second, np.ones(count, bool))

    def _two_of(self, starts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        size = self._group_end[starts] - starts
        one = rng.integers(size)
        other = (one + rng.integers(1, size)) % size
        return self._grouped[starts + one], self._grouped[starts + other]

    def _others(self, rows: np.ndarray) -> np.ndarray:
        """How many volumes of other families were acquired like these."""
        place = self._place[rows]
        own = self._family_end[place] - self._family_start[place]
        return self._pool_end[place] - self._pool_start[place] - own

    def _negatives(self, anchors: np.ndarray, like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        place = self._place[like]
        start, own_start, own_end = (
            a[place] for a in (self._pool_start, self._family_start, self._family_end)
        )
        step = rng.integers(self._others(like)[:, None], size=(len(like), self.candidates))
        places = start[:, None] + step
        places += np.where(places >= own_start[:, None], (own_end - own_start)[:, None], 0)
        rows = self._pooled[places]
        if self.candidates == 1 or self._embeddings is None:
            return rows[:, 0]
        gaps = np.linalg.norm(self._embeddings[rows] - self._embeddings[anchors][:, None], axis=2)
        return rows[np.arange(len(rows)), gaps.argmin(1)]


def _blocks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last place of the block of equal columns that each place lies in."""
    count = keys.shape[1]
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    new = np.flatnonzero(np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(0)]))
    which = np.cumsum(np.bincount(new, minlength=count)) - 1
    return new[which], np.append(new[1:], count)[which]

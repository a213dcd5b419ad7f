"""Names for the bodies of a column, counted from the sacrum, with probabilities.

The detector tells S1 from other bodies; nothing else in a lumbar field of view names a level for certain. So
the name of a body is its count from S1, and its probability is that of the S1 it is counted from, over all
hypotheses "body k is S1" and "S1 is below the view" [D-0024]. Without a sacrum all offsets are equally
likely: then no name is given. Five lumbar vertebrae are assumed, the convention where only the lumbar spine
is seen; a sixth (L6) or a thirteenth thoracic one (T13) cannot be told from counting, and a body that looks
half sacral is flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LEVELS", "LevelGuess", "disc_level", "name_levels"]

LEVELS = (
    *(f"S{i}" for i in range(5, 0, -1)),
    *(f"L{i}" for i in range(5, 0, -1)),
    *(f"T{i}" for i in range(12, 0, -1)),
    *(f"C{i}" for i in range(7, 0, -1)),
)
"""All levels from the lowest up."""

_S1 = LEVELS.index("S1")
_FLOOR = 0.02  # a map can be wrong with any confidence
_ODDS_POWER = 2.0
_NO_SACRUM_PRIOR = 0.1  # of hypotheses "the sacrum is not in view" together, before looking
_OFFSETS = 8  # without a sacrum the lowest body may be any of L5 ... T10
_GAP_PROBABILITY = 0.8  # that a gap holds as many bodies as it has room for
_CERTAIN = 0.5  # a name less likely than this is not given
_HALF_SACRAL = (0.25, 0.75)


@dataclass(frozen=True)
class LevelGuess:
    """Level (None where unknown), probability of the best guess, and flags."""

    level: str | None
    probability: float
    flags: tuple[str, ...] = ()


def name_levels(sacral: Sequence[float], missing: Sequence[int]) -> tuple[list[LevelGuess], list[str]]:
    """Name the bodies of one column.

    Args:
        sacral: for each body, superior first, the share of evidence for S1, 0-1.
        missing: for each body but the last, how many bodies are missed between it and the next one down.

    Returns:
        One guess a body, superior first, and warnings in plain words.

    Raises:
        ValueError: if missing does not have one entry less than sacral.
    """
    count = len(sacral)
    if count == 0:
        return [], []
    if len(missing) != count - 1:
        raise ValueError(f"missing must have one entry less than sacral ({count}), got {len(missing)}")
    below = np.concatenate(
        [np.cumsum(np.asarray(missing, int)[::-1] + 1)[::-1], [0]]
    )  # steps above the lowest
    evidence = _evidence(sacral)
    weights: dict[int, float] = {}  # index in LEVELS of the lowest body -> weight
    for k in range(count):
        likelihood = float(np.prod([e if i == k else 1 - e for i, e in enumerate(evidence) if i <= k]))
        likelihood *= float(
            np.prod(_FLOOR + (1 - _FLOOR) * evidence[k + 1 :])
        )  # S2 and below look sacral too
        lowest = _S1 - int(below[k])
        if lowest >= 0:
            weights[lowest] = weights.get(lowest, 0.0) + (1 - _NO_SACRUM_PRIOR) * likelihood
    none = float(np.prod(1 - evidence)) * _NO_SACRUM_PRIOR / _OFFSETS
    for offset in range(1, _OFFSETS + 1):
        weights[_S1 + offset] = weights.get(_S1 + offset, 0.0) + none
    total = sum(weights.values())
    lowest, weight = max(weights.items(), key=lambda item: item[1])
    return _guesses(lowest, weight / total, sacral, missing, below)


def _evidence(sacral: Sequence[float]) -> np.ndarray:
    """Probability that a body is sacral, from the share of the S1 map at its center [D-0024]."""
    share = np.clip(np.asarray(sacral, float), 1e-3, 1 - 1e-3)
    odds = (share / (1 - share)) ** _ODDS_POWER
    return np.clip(odds / (1 + odds), _FLOOR, 1 - _FLOOR)


def _guesses(
    lowest: int, probability: float, sacral: Sequence[float], missing: Sequence[int], below: np.ndarray
) -> tuple[list[LevelGuess], list[str]]:
    count = len(sacral)
    gaps = [int(sum(m > 0 for m in missing[i:])) for i in range(count)]
    evidence = _evidence(sacral)
    # Bodies below S1 are sacral whatever they look like.
    half = [
        i
        for i in range(count)
        if _HALF_SACRAL[0] < evidence[i] < _HALF_SACRAL[1] and lowest + int(below[i]) >= _S1
    ]
    guesses = []
    for i in range(count):
        chance = probability * _GAP_PROBABILITY ** gaps[i]
        index = lowest + int(below[i])
        known = chance >= _CERTAIN and index < len(LEVELS)
        flags = ("transitional",) if i in half and known else ()
        guesses.append(LevelGuess(LEVELS[index] if known else None, float(chance), flags))
    warnings = []
    if guesses[-1].level is None:
        warnings.append(
            "The sacrum is not seen with certainty: levels cannot be counted and are left unnamed. "
            "Bodies are listed from superior to inferior."
        )
    elif half:
        names = ", ".join(guesses[i].level or "?" for i in half)
        warnings.append(
            f"{names} looks partly sacral: a transitional vertebra would shift every name by one level."
        )
    for i, number in enumerate(missing):
        if number:
            upper, lower = (guesses[k].level or f"body {k + 1}" for k in (i, i + 1))
            warnings.append(
                f"About {number} vertebra(e) not found between {upper} and {lower}: "
                "no disc is cut there and the names above it are less certain."
            )
    return guesses, warnings


def disc_level(upper: str | None, lower: str | None) -> str | None:
    """Name of the disc between two neighbouring levels: T12-L1, L5-S1; None where a level is unknown."""
    return f"{upper}-{lower}" if upper and lower else None

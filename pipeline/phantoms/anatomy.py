"""Anatomy of a phantom's column: sizes, tilts and grades, drawn from adult ranges.

Conventions: points are (row, column) in mm of the middle sagittal plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Body", "Gap", "axes", "draw_anatomy", "make_own"]

_HEIGHT = {1: 1.0, 2: 1.0, 3: 0.9, 4: 0.75, 5: 0.5}  # of the disc, by grade


@dataclass
class Body:
    """A vertebral body in the middle plane.

    Args:
        level: its name.
        center: (row, column) in mm.
        tilt: radians; positive raises the posterior end.
        height: between the plates, mm.
        width: of the upper plate, mm.
        lower_width: of the lower plate, mm.
        waist: depth of the hollow in front and behind, mm.
        dish: depth of the hollow in the plates, mm.
        islands: of fatty marrow: along and across as shares of half the body, radius in mm, brightness as a
            share of that of marrow.
    """

    level: str
    center: np.ndarray
    tilt: float
    height: float
    width: float
    lower_width: float
    waist: float = 0.3
    dish: float = 0.2
    islands: tuple[tuple[float, float, float, float], ...] = ()

    def corners(self) -> np.ndarray:
        """``(4, 2)`` AS, PS, PI, AI as (row, column) mm."""
        down, back = axes(self.tilt)
        up, low = self.center - down * self.height / 2, self.center + down * self.height / 2
        a, b = back * self.width / 2, back * self.lower_width / 2
        return np.stack([up - a, up + a, low + b, low - b])


@dataclass
class Gap:
    """A disc: name, the bodies around it, Pfirrmann grade."""

    name: str
    upper: Body
    lower: Body
    grade: int


def axes(tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (row, column) down and back for a tilt that raises the posterior end."""
    return np.array([np.cos(tilt), np.sin(tilt)]), np.array([-np.sin(tilt), np.cos(tilt)])


def draw_anatomy(
    rng: np.random.Generator,
    extent: np.ndarray,
    levels: Sequence[str],
    grades: Mapping[str, int],
    shift: np.ndarray,
    turn: float,
) -> tuple[list[Body], list[Gap]]:
    """Bodies, superior first, and the discs between them (none below S1: its disc is a remnant)."""
    slope = np.deg2rad(rng.uniform(37, 43)) + turn
    width, height = rng.uniform(33, 35), rng.uniform(26, 28)
    plate = extent * (rng.uniform(0.72, 0.75), rng.uniform(0.48, 0.53)) + shift
    first = list(levels).index("S1")
    bodies: list[Body] = []
    top, tilt, upper = plate, slope, width
    for k, level in enumerate(levels[first:]):  # the sacrum, bending backwards
        tall, lower = (0.85 if k == 0 else 0.78) * upper, (0.70 if k == 0 else 0.78) * upper
        down, _ = axes(tilt)
        bodies.append(Body(level, top + down * tall / 2, tilt, tall, upper, lower))
        top, upper = top + down * (tall + 2.5), lower
        tilt += np.deg2rad(11)
    names = [f"{a}-{b}" for a, b in zip(levels[:first], levels[1 : first + 1], strict=True)]
    unknown = set(grades) - set(names)
    if unknown or any(g not in _HEIGHT for g in grades.values()):
        raise ValueError(f"grades must be 1 to 5 for discs out of {names}, got {dict(grades)}")
    bottom, tilt = plate, slope
    gaps: list[Gap] = []
    steps = [17, 11, 9, 8, 6, 3, 0]  # degrees of lordosis in each disc space, from L5-S1 up
    for k, level in enumerate(levels[:first][::-1]):
        drawn = int(
            rng.choice(
                [1, 2, 3, 4, 5], p=[0.1, 0.3, 0.3, 0.22, 0.08] if k < 3 else [0.25, 0.45, 0.2, 0.08, 0.02]
            )
        )
        name = names[first - 1 - k]
        grade = grades.get(name, drawn)
        tall = max(5.5, 11.5 - 0.9 * k) * rng.uniform(0.93, 1.07) * _HEIGHT[grade]
        step = np.deg2rad(steps[min(k, len(steps) - 1)] * rng.uniform(0.85, 1.15))
        middle = axes(tilt - step / 2)[0]
        scale = 1.0 if k < 5 else 0.93 - 0.03 * (k - 5)
        body_height = height * scale * rng.uniform(0.97, 1.03)
        tilt -= step
        down = axes(tilt)[0]
        center = bottom - middle * tall - down * body_height / 2
        body_width = width * scale * rng.uniform(0.98, 1.02)
        body = Body(level, center, tilt, body_height, body_width, body_width)
        gaps.insert(0, Gap(name, body, bodies[0], grade))
        bodies.insert(0, body)
        bottom = center - down * body_height / 2
    return bodies, gaps


def make_own(bodies: Sequence[Body], rng: np.random.Generator) -> None:
    """Give each body a shape and islands of fatty marrow by which it is known again."""
    for body in bodies:
        body.waist, body.dish = rng.uniform(0.1, 0.6), rng.uniform(0.0, 0.5)
        body.islands = tuple(
            (rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.7), rng.uniform(2.0, 5.0), rng.uniform(1.25, 1.7))
            for _ in range(rng.integers(1, 4))
        )

"""What a detection is: vertebrae, the discs between them, and the column they form.

Conventions: mm in RAS+; canonical slices count in the LIP view (to the patient's left); corners in the order
anterior-superior, posterior-superior, posterior-inferior, anterior-inferior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Column", "Disc", "Vertebra"]


@dataclass(frozen=True)
class Vertebra:
    """One vertebral body.

    Attributes:
        level: "L5", "S1", ...; None where nothing in the scan says which one it is.
        level_probability: probability of ``level`` (of the best guess where ``level`` is None), 0-1.
        score: detection confidence, 0-1.
        partial: True where the body is cut by the edge of the scan; its outer corners are then a guess.
        slice_corners_mm: canonical slice -> ``(4, 3)`` corners in mm RAS+.
        middle_slice: canonical index of the body's middle sagittal slice.
        flags: what a reader should know, such as "transitional".
    """

    level: str | None
    level_probability: float
    score: float
    partial: bool
    slice_corners_mm: Mapping[int, np.ndarray]
    middle_slice: int
    flags: tuple[str, ...] = ()

    @property
    def corners_mm(self) -> np.ndarray:
        """Corners in the middle slice, ``(4, 3)`` mm RAS+."""
        return self.slice_corners_mm[self.middle_slice]

    @property
    def center_mm(self) -> np.ndarray:
        """Mean of the corners in the middle slice, ``(3,)`` mm RAS+."""
        return self.corners_mm.mean(0)

    @property
    def slices(self) -> tuple[int, int]:
        """First and last canonical slice in which the body is seen."""
        return min(self.slice_corners_mm), max(self.slice_corners_mm)


@dataclass(frozen=True)
class Disc:
    """The space between two neighbouring bodies of a column.

    Attributes:
        upper, lower: indices into ``Column.vertebrae``.
        level: "L4-L5", ...; None where a neighbour's level is not known.
        center_mm: ``(3,)`` mm RAS+, midway between the two facing plates.
    """

    upper: int
    lower: int
    level: str | None
    center_mm: np.ndarray


@dataclass(frozen=True)
class Column:
    """Vertebrae from superior to inferior, the gradable discs between them, and what to be careful about."""

    vertebrae: tuple[Vertebra, ...]
    discs: tuple[Disc, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)

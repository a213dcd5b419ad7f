"""Cut the volumes of a column out of its sagittal view: discs and vertebral bodies, those that can be cut."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from siamed.pipeline.detection.vertebra import Column

__all__ = ["DISC_SLICES", "Volumes", "cut_bodies", "cut_discs"]

logger = logging.getLogger(__name__)

DISC_SLICES = 9


@dataclass(frozen=True)
class Volumes:
    """Extracted volumes with what they show.

    Args:
        kind: "vb" for vertebral bodies, "ivd" for discs.
        indices: for each volume, which of the column's vertebrae or discs it shows.
        images: for each volume a MetaTensor ``(1, 9, H, W)`` whose affine maps it to the patient.
    """

    kind: str
    indices: tuple[int, ...] = ()
    images: tuple[MetaTensor, ...] = field(default=(), repr=False)


def cut_discs(
    view: MetaTensor,
    column: Column,
    margin_px: tuple[int, int] = (0, 0),
    slices: int = DISC_SLICES,
) -> Volumes:
    """Cut out the column's discs, 9 x 112 x 224, as the grader was trained on them.

    A disc whose outline is not one (a detection gone wrong) is left out and logged; the others are cut.

    Args:
        view: ``(1, D, H, W)`` in LIP.
        column: the vertebrae and discs found in it.
        margin_px: rows and columns added at each side.
        slices: of a volume.
    """
    from siamed.transforms.extract_disc import ExtractDisc

    bodies = [v.slice_corners_mm for v in column.vertebrae]
    cut = ExtractDisc.with_margin(margin_px, slices)

    def some(indices: Sequence[int]) -> list[MetaTensor]:
        discs = [column.discs[i] for i in indices]
        return cut.many(view, [(bodies[disc.upper], bodies[disc.lower]) for disc in discs])

    return _cut("ivd", some, range(len(column.discs)))


def cut_bodies(view: MetaTensor, column: Column, indices: Sequence[int]) -> Volumes:
    """Cut out vertebral bodies, 9 x 224 x 224, normalized by their neighbors in the column.

    A body whose outline is not one is left out and logged; the others are cut.

    Args:
        view: ``(1, D, H, W)`` in LIP.
        column: the vertebrae found in it.
        indices: which of them.
    """
    from siamed.transforms.extract_vertebral_body import ExtractVertebralBody

    bodies = [v.slice_corners_mm for v in column.vertebrae]
    cut = ExtractVertebralBody()

    def some(indices: Sequence[int]) -> list[MetaTensor]:
        around = [bodies[max(i - 1, 0) : i] + bodies[i + 1 : i + 2] for i in indices]
        return cut.many(view, [bodies[i] for i in indices], around)

    return _cut("vb", some, indices)


def _cut(kind: str, some: Callable[[Sequence[int]], list[MetaTensor]], indices: Sequence[int]) -> Volumes:
    """Cut all at once, which is faster, or one by one where one of them cannot be cut."""
    try:
        return Volumes(kind, tuple(indices), tuple(some(indices)) if indices else ())
    except ValueError:
        found = {}
        for i in indices:
            try:
                (found[i],) = some([i])
            except ValueError as error:
                logger.warning("%s %d cannot be cut: %s", kind, i, error)
        return Volumes(kind, tuple(found), tuple(found.values()))

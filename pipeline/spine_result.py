"""What was found and graded in a view, as entries of a result in the frame of the input file.

The view is in canonical order; a result counts voxels and slices as the file does. Numbers are rounded to
what can be meant, and what a reader must know is put into a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siamed.pipeline.facts import BundleFacts, Point, scan_facts, software
from siamed.pipeline.results import DiscResult, GradeResult, SpineResult, VertebraResult

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from siamed.pipeline.cuts import Volumes
    from siamed.pipeline.detection.vertebra import Column, Vertebra
    from siamed.pipeline.scans import Scan

__all__ = ["FileFrame", "agreement_warning", "detection_result", "grade_result", "uncut_warning"]

_POOR_KAPPA = 0.2  # up to here agreement is "slight" or none [landis1977agreement]
_MM_DECIMALS, _VOXEL_DECIMALS, _PROBABILITY_DECIMALS = 3, 3, 6


class FileFrame:
    """From the canonical view to the indices of the input file."""

    def __init__(self, scan: Scan, view: MetaTensor) -> None:
        self._inverse = np.linalg.inv(np.asarray(scan.image.affine, float))
        self._across = next(i for i, code in enumerate(scan.orientation) if code in "LR")
        self._view_affine = np.asarray(view.affine, float)

    def voxel(self, point_mm: np.ndarray) -> Point:
        """RAS+ mm -> index in the file."""
        return _point(self._inverse[:3, :3] @ point_mm + self._inverse[:3, 3], _VOXEL_DECIMALS)

    def slice_number(self, index: int) -> int:
        """Canonical slice -> the file's own index along its slice axis."""
        return round(self.voxel(self._view_affine[:3, 0] * index + self._view_affine[:3, 3])[self._across])

    def slices(self, first: int, last: int) -> tuple[int, int]:
        """A range of canonical slices -> the file's own, which may count the other way."""
        a, b = self.slice_number(first), self.slice_number(last)
        return min(a, b), max(a, b)


def detection_result(
    scan: Scan, frame: FileFrame, column: Column, bundles: Sequence[BundleFacts]
) -> SpineResult:
    """The result of a detection: vertebrae and discs, nothing graded.

    Args:
        scan: what was read.
        frame: of its file.
        column: found in its view.
        bundles: that are to speak about it.
    """
    return SpineResult(
        scan=scan_facts(scan),
        bundles=tuple(bundles),
        vertebrae=tuple(_vertebra(v, frame) for v in column.vertebrae),
        discs=tuple(
            DiscResult(
                level=disc.level,
                center_mm=_point(disc.center_mm, _MM_DECIMALS),
                center_voxel=frame.voxel(disc.center_mm),
                vertebrae=(disc.upper, disc.lower),
            )
            for disc in column.discs
        ),
        warnings=tuple(column.warnings) + _partial_warning(column),
        software=software(),
    )


def _vertebra(vertebra: Vertebra, frame: FileFrame) -> VertebraResult:
    corners = [_point(corner, _MM_DECIMALS) for corner in vertebra.corners_mm]
    return VertebraResult(
        level=vertebra.level,
        level_probability=_probability(vertebra.level_probability),
        score=_probability(vertebra.score),
        partial=bool(vertebra.partial),
        center_voxel=frame.voxel(vertebra.center_mm),
        center_mm=_point(vertebra.center_mm, _MM_DECIMALS),
        corners_mm=(corners[0], corners[1], corners[2], corners[3]),
        slices=frame.slices(*vertebra.slices),
        flags=tuple(vertebra.flags),
    )


def grade_result(given: Mapping[str, Any]) -> GradeResult:
    """One answer of a grader: grade, probabilities, expected and, where it is calibrated, likely grades."""
    return GradeResult(
        grade=int(given["grade"]),
        probabilities={str(k): _probability(p) for k, p in given["probabilities"].items()},
        expected=round(float(given["expected"]), _PROBABILITY_DECIMALS),
        likely=tuple(int(grade) for grade in given.get("likely", ())),
    )


def _partial_warning(column: Column) -> tuple[str, ...]:
    names = [v.level or f"body {i + 1}" for i, v in enumerate(column.vertebrae) if v.partial]
    if not names:
        return ()
    return (f"Cut by the edge of the scan, with outer corners guessed: {', '.join(names)}.",)


def uncut_warning(
    items: Sequence[DiscResult | VertebraResult], wanted: Sequence[int], volumes: Volumes
) -> tuple[str, ...]:
    """A warning of those wanted that could not be cut out, if there are any."""
    kind, noun = ("body", "a vertebral body") if volumes.kind == "vb" else ("disc", "a disc")
    names = [items[i].level or f"{kind} {i + 1}" for i in wanted if i not in volumes.indices]
    if not names:
        return ()
    return (f"Not used, as the outline found is not that of {noun}: {', '.join(names)}.",)


def agreement_warning(agreement: Mapping[str, float]) -> tuple[str, ...]:
    """A warning of tasks (task -> kappa with a reader) that hardly agree with readers, if there are any."""
    poor = [f"{task} ({kappa:.2f})" for task, kappa in agreement.items() if kappa < _POOR_KAPPA]
    if not poor:
        return ()
    return (f"Not to be relied on, as they hardly agree with readers (kappa): {', '.join(poor)}.",)


def _probability(value: float) -> float:
    return round(float(value), _PROBABILITY_DECIMALS)


def _point(values: Sequence[float] | np.ndarray, decimals: int) -> Point:
    x, y, z = (round(float(v), decimals) + 0.0 for v in values)  # + 0.0 makes -0.0 plain
    return x, y, z

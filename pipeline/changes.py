"""What differs between two gradings of one subject, and which differences are more than noise.

Discs are matched by their names. A difference is that of the expected grades, which move where the most
probable one stays. Its limit is what 95 % of discs stay below when they are scanned and graded twice on one
day, as the grading bundle's cross-validation measured it: what is larger, repetition alone seldom makes. A
difference below the limit may be real, and one above it may still be an error of both gradings.

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from siamed.pipeline.results import SpineResult

__all__ = ["GradeChange", "ScanChanges", "compare_results", "read_earlier"]


@dataclass(frozen=True)
class GradeChange:
    """One grade of one disc, then and now.

    Args:
        level: of the disc.
        task: what is graded.
        earlier: the grade then.
        later: the grade now.
        difference: expected grade now less expected grade then.
        limit: 95 % of repeated gradings differ by no more; None where the bundle does not say.
    """

    level: str
    task: str
    earlier: int
    later: int
    difference: float
    limit: float | None

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference is larger than repetition alone makes it in 95 % of discs."""
        return self.limit is not None and abs(self.difference) > self.limit


@dataclass(frozen=True)
class ScanChanges:
    """One earlier scan against the present one.

    Args:
        scan_id: of the earlier scan.
        changes: disc by disc, task by task.
        unmatched: discs that only one of the scans has, by name.
        remarks: what a reader must know before using the rest.
    """

    scan_id: str
    changes: tuple[GradeChange, ...]
    unmatched: tuple[str, ...]
    remarks: tuple[str, ...]


def read_earlier(place: str | Path) -> SpineResult:
    """Read the result of an earlier grading.

    Args:
        place: its folder, or its ``result.json``.

    Raises:
        ValueError: if there is none, or no disc in it was graded.
    """
    path = Path(place) / "result.json" if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise ValueError(f"must be a folder of `siamed grade` or its result.json, {path.name} is not there")
    try:
        result = SpineResult.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"must be a folder of `siamed grade` or its result.json, {path.name} is none: {error}"
        ) from error
    if not result.tasks:
        raise ValueError(f"must hold grades, {path.name} is of a command that grades nothing")
    return result


def compare_results(earlier: SpineResult, later: SpineResult) -> ScanChanges:
    """Compare two gradings.

    Args:
        earlier: the one before.
        later: the present one; its bundles say what is noise.
    """
    then = {disc.level: disc for disc in earlier.discs if disc.level and disc.grades}
    now = {disc.level: disc for disc in later.discs if disc.level and disc.grades}
    limits = later.repeatability
    changes = tuple(
        GradeChange(
            level,
            task,
            then[level].grades[task].grade,
            given.grade,
            given.expected - then[level].grades[task].expected,
            limits.get(task),
        )
        for level, disc in now.items()
        if level in then
        for task, given in disc.grades.items()
        if task in then[level].grades
    )
    unmatched = tuple(level for level in {**now, **then} if (level in now) != (level in then))
    return ScanChanges(earlier.scan.scan_id, changes, unmatched, tuple(_remarks(earlier, later)))


def _remarks(earlier: SpineResult, later: SpineResult) -> Iterator[str]:
    if earlier.scan.scan_id == later.scan.scan_id:
        yield "It is the same scan."
    if earlier.scan.subject_id != later.scan.subject_id:
        yield (
            "The subject ids differ: make sure that both scans are of one person; `siamed compare` says how "
            "likely that is."
        )
    if earlier.scan.sequence != later.scan.sequence:
        yield f"It is another sequence: {earlier.scan.sequence}, now {later.scan.sequence}."
    if {b.sha256 for b in earlier.bundles} != {b.sha256 for b in later.bundles}:
        yield "It was graded with other weights: grade it again, or differences may be those of the networks."

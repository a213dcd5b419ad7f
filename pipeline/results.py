"""What siamed says about one scan: the schema ``siamed/spine/1`` as dataclasses, to JSON and back.

Conventions. ``*_mm`` are RAS+ millimeters (NIfTI's world). ``*_voxel`` and ``slices`` are indices into the
input file's own array, in its own order and direction. Corners: anterior-superior, posterior-superior,
posterior-inferior, anterior-inferior. Vertebrae and discs are listed from superior to inferior. Grades are
counted as their standard counts them (Pfirrmann 1-5). Fields and units: ``spine-1.schema.json`` beside this
file, which :meth:`SpineResult.check` applies; the fields beyond the first draft of the schema are explained
in [D-0045].

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from siamed.pipeline.facts import BundleFacts, CaseResult, Point, ScanFacts, check_against, tuples

__all__ = [
    "DiscResult",
    "GradeResult",
    "SpineResult",
    "VertebraResult",
]

_SCHEMA_FILE = "spine-1.schema.json"
_SUM_TOLERANCE = 1e-3  # probabilities are written with 6 decimals; a network in half precision sums worse


@dataclass(frozen=True)
class VertebraResult:
    """One vertebral body.

    Args:
        level: "L5", "S1", ...; None where the scan cannot say.
        level_probability: probability of ``level``, or of the best guess where it is None.
        score: detection confidence.
        partial: the body is cut by the edge of the scan.
        center_voxel: mean of the corners, in the file's own indices.
        center_mm: mean of the corners.
        corners_mm: the four corners in the middle slice.
        slices: first and last slice that shows the body, in the file's own index along its slice axis.
        flags: "transitional" and the like.
    """

    level: str | None
    level_probability: float
    score: float
    partial: bool
    center_voxel: Point
    center_mm: Point
    corners_mm: tuple[Point, Point, Point, Point]
    slices: tuple[int, int]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class GradeResult:
    """One grade of one disc.

    Args:
        grade: what is given: of ordered grades the median of the probabilities, else the most probable class.
        probabilities: class -> probability; they sum to 1.
        expected: sum of class times probability.
        likely: grades that together hold the true one in 90 % of discs, as far as the bundle's calibration
            says; empty where it has none.
    """

    grade: int
    probabilities: dict[str, float]
    expected: float
    likely: tuple[int, ...] = ()

    @property
    def confidence(self) -> float:
        """Probability of the grade that was given."""
        return self.probabilities[str(self.grade)]


@dataclass(frozen=True)
class DiscResult:
    """One intervertebral disc.

    Args:
        level: "L4-L5"; None where a neighbor's level is not known.
        center_mm: midway between the facing plates.
        center_voxel: the same in the file's own indices.
        vertebrae: positions of the upper and the lower neighbor in the list of vertebrae, from 0.
        grades: task -> grade; empty where nothing was graded.
    """

    level: str | None
    center_mm: Point
    center_voxel: Point
    vertebrae: tuple[int, int]
    grades: dict[str, GradeResult] = field(default_factory=dict)


@dataclass(frozen=True)
class SpineResult(CaseResult):
    """Everything said about one scan.

    Args:
        scan: the scan.
        bundles: the bundles that were used.
        vertebrae: from superior to inferior.
        discs: from superior to inferior; a disc whose plates are not both in view is not among them.
        warnings: what a reader must know before using the rest.
        software: package -> version.
    """

    SCHEMA = "siamed/spine/1"

    scan: ScanFacts
    bundles: tuple[BundleFacts, ...]
    vertebrae: tuple[VertebraResult, ...]
    discs: tuple[DiscResult, ...]
    warnings: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)

    @property
    def agreement(self) -> dict[str, float]:
        """Task -> quadratic kappa with a reader, of the grades given and of all bundles that say so."""
        said = {task: kappa for bundle in self.bundles for task, kappa in bundle.agreement.items()}
        return {task: said[task] for task in self.tasks if task in said}

    @property
    def repeatability(self) -> dict[str, float]:
        """Task -> how far repeated gradings differ, of all bundles that say so."""
        return {task: limit for bundle in self.bundles for task, limit in bundle.repeatability.items()}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the grades given, in the order of their first appearance."""
        return tuple(dict.fromkeys(task for disc in self.discs for task in disc.grades))

    @classmethod
    def check(cls, data: Any) -> None:
        """Check what ``json.loads`` gives against the JSON schema and against itself.

        Beyond the schema: level names are not given twice, a disc names vertebrae that are in the list and
        follow each other, first slices come before last ones, a grade is one of its classes, and
        probabilities sum to 1.

        Raises:
            ValueError: the first breach, with the place where it is.
        """
        check_against(data, _SCHEMA_FILE, cls.SCHEMA)
        for name in ("vertebrae", "discs"):
            levels = [item["level"] for item in data[name] if item["level"] is not None]
            if len(set(levels)) < len(levels):
                raise ValueError(f"{name} must not give a level twice, got {levels}")
        for i, vertebra in enumerate(data["vertebrae"]):
            first, last = vertebra["slices"]
            if first > last:
                raise ValueError(f"slices of vertebra {i} must be (first, last), got {[first, last]}")
        for i, disc in enumerate(data["discs"]):
            _check_disc(i, disc, len(data["vertebrae"]))

    @classmethod
    def _read(cls, data: dict[str, Any]) -> SpineResult:
        return cls(
            scan=ScanFacts(**{k: tuples(v) for k, v in data["scan"].items()}),
            bundles=tuple(BundleFacts(**bundle) for bundle in data["bundles"]),
            vertebrae=tuple(
                VertebraResult(**{k: tuples(v) for k, v in vertebra.items()})
                for vertebra in data["vertebrae"]
            ),
            discs=tuple(_disc(disc) for disc in data["discs"]),
            warnings=tuple(data["warnings"]),
            software=dict(data["software"]),
        )


def _check_disc(index: int, disc: dict[str, Any], vertebrae: int) -> None:
    upper, lower = disc["vertebrae"]
    if lower != upper + 1 or lower >= vertebrae:
        raise ValueError(
            f"vertebrae of disc {index} must be two neighbors among {vertebrae}, got {[upper, lower]}"
        )
    for task, grade in disc["grades"].items():
        if str(grade["grade"]) not in grade["probabilities"]:
            raise ValueError(
                f"{task} of disc {index} must be one of {list(grade['probabilities'])}, got {grade['grade']}"
            )
        classes = {int(name) for name in grade["probabilities"]}
        if grade["likely"] and not {grade["grade"]} <= set(grade["likely"]) <= classes:
            raise ValueError(
                f"likely grades of {task} of disc {index} must be classes and hold the grade "
                f"{grade['grade']}, got {grade['likely']}"
            )
        total = math.fsum(grade["probabilities"].values())
        if abs(total - 1) > _SUM_TOLERANCE:
            raise ValueError(f"probabilities of {task} of disc {index} must sum to 1, got {total:.4f}")


def _disc(data: dict[str, Any]) -> DiscResult:
    plain = {k: tuples(v) for k, v in data.items() if k != "grades"}
    grades = {
        task: GradeResult(**{**grade, "likely": tuple(grade["likely"])})
        for task, grade in data["grades"].items()
    }
    return DiscResult(**plain, grades=grades)

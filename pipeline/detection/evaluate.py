"""How good a detection is, against labelled bodies.

Contract: a labelled whole body is *found* if the center of a detected one lies inside its quadrilateral in
the detection's middle slice, or in the nearest slice in which the label shows it; of a body that reaches
beyond the scan, the center of what lies within may do so too. A detection is *false* if
it lies in no labelled body, is not within ``S1_RADIUS_MM`` of the labelled S1, and is not an unlabelled
body at the edge of the labelled column (labels leave out cut bodies): above the upper plate of the highest
labelled body. Two
detections in one body: the second is false. Names are right in a scan if each found body carries the name
that counting from the labelled sacral plate gives. Corner errors are in-plane distances in mm over all
slices in which label and detection both show the body; the labels' corners come from
:func:`siamed.transforms.vertebral_bodies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from siamed.transforms.vertebral_bodies import BodyLabel

from .naming import LEVELS
from .vertebra import Column, Vertebra

__all__ = ["S1_RADIUS_MM", "ScanScore", "score_column", "summarize"]

S1_RADIUS_MM = 20.0
_S1 = LEVELS.index("S1")


@dataclass
class ScanScore:
    """Counts and errors of one scan."""

    case_id: str
    labelled: int = 0
    found: int = 0
    false: int = 0
    names_right: bool = False
    s1_found: bool = False
    corner_errors_mm: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _contains(quad: np.ndarray, point: np.ndarray) -> bool:
    edges = np.roll(quad, -1, 0) - quad
    to_point = point - quad
    cross = edges[:, 0] * to_point[:, 1] - edges[:, 1] * to_point[:, 0]
    return bool((cross >= 0).all() or (cross <= 0).all())


def _voxels(points_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (points_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def _centers(vertebra: Vertebra, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(slice, row, column) of a body's center, and of the center of its part below the scan's upper edge."""
    corners = _voxels(vertebra.corners_mm, affine)
    visible = corners.copy()
    visible[:, 1] = np.maximum(visible[:, 1], 0)
    return corners.mean(0), visible.mean(0)


def _nearest_quad(body: BodyLabel, index: int) -> np.ndarray:
    return body.slice_corners[min(body.slice_corners, key=lambda d: abs(d - index))]


def score_column(case_id: str, column: Column, bodies: Sequence[BodyLabel], affine: np.ndarray) -> ScanScore:
    """Score one scan.

    Args:
        case_id: for the table.
        column: the detection.
        bodies: labelled bodies in voxels of the same canonical grid.
        affine: voxel -> mm of that grid.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[1:]
    whole = [b for b in bodies if not b.sacral and not b.partial and b.slice_corners]
    score = ScanScore(case_id, labelled=len(whole), names_right=True)
    taken: set[int] = set()
    for vertebra in column.vertebrae:
        center, visible = _centers(vertebra, affine)
        hit = next(
            (
                b
                for b in bodies
                if b.slice_corners
                and not b.sacral
                and any(_contains(_nearest_quad(b, round(c[0])), c[1:]) for c in (visible, center))
            ),
            None,
        )
        if hit is not None and hit.order not in taken:
            taken.add(hit.order)
            if not hit.partial:
                score.found += 1
                score.corner_errors_mm += _corner_errors(vertebra, hit, affine, spacing)
            expected = LEVELS[_S1 + hit.order]
            if vertebra.level != expected:
                score.names_right = False
                score.notes.append(f"{expected} named {vertebra.level}")
        elif hit is None and _is_s1(bodies, center, spacing):
            score.s1_found = True
            if vertebra.level != "S1":
                score.names_right = False
                score.notes.append(f"S1 named {vertebra.level}")
        elif hit is None and _is_above(bodies, center):
            score.notes.append("unlabelled body above the labels")
        else:
            score.false += 1
            score.notes.append(
                f"false body at slice {center[0]:.0f}, row {center[1]:.0f}, column {center[2]:.0f}"
            )
    missed = [LEVELS[_S1 + b.order] for b in whole if b.order not in taken]
    if missed:
        score.notes.append("missed " + ", ".join(missed))
    return score


def _is_s1(bodies: Sequence[BodyLabel], center: np.ndarray, spacing: np.ndarray) -> bool:
    for body in bodies:
        if body.sacral and body.slice_corners:
            middle = _nearest_quad(body, round(center[0])).mean(0)
            return float(np.linalg.norm((center[1:] - middle) * spacing)) <= S1_RADIUS_MM
    return False


def _is_above(bodies: Sequence[BodyLabel], center: np.ndarray) -> bool:
    """Whether a point lies above the upper plate of the highest labelled body."""
    labelled = [b for b in bodies if b.slice_corners]
    if not labelled:
        return False
    anterior, posterior, inferior, _ = _nearest_quad(max(labelled, key=lambda b: b.order), round(center[0]))
    plate = posterior - anterior

    def side(point: np.ndarray) -> float:
        return float(plate[0] * (point - anterior)[1] - plate[1] * (point - anterior)[0])

    return side(center[1:]) * side(inferior) < 0


def _corner_errors(
    vertebra: Vertebra, body: BodyLabel, affine: np.ndarray, spacing: np.ndarray
) -> list[float]:
    errors: list[float] = []
    for d in set(vertebra.slice_corners_mm) & set(body.slice_corners):
        found = _voxels(vertebra.slice_corners_mm[d], affine)[:, 1:]
        errors += np.linalg.norm((found - body.slice_corners[d]) * spacing, axis=1).tolist()
    return errors


def summarize(scores: Sequence[ScanScore]) -> dict[str, float]:
    """Figures over scans: shares 0-1, errors in mm."""
    labelled, found = sum(s.labelled for s in scores), sum(s.found for s in scores)
    errors = np.concatenate([s.corner_errors_mm for s in scores]) if found else np.array([np.nan])
    return {
        "scans": len(scores),
        "bodies": labelled,
        "found": found / labelled if labelled else float("nan"),
        "scans_without_false": float(np.mean([s.false == 0 for s in scores])),
        "scans_named_right": float(np.mean([s.names_right for s in scores])),
        "s1_found": float(np.mean([s.s1_found for s in scores])),
        "corner_error_mm_median": float(np.median(errors)),
        "corner_error_mm_p95": float(np.percentile(errors, 95)),
    }

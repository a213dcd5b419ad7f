"""Two gradings of one person: discs by name, differences of expected grades, noise as it was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from siamed.pipeline.changes import compare_results, read_earlier
from siamed.pipeline.results import GradeResult, SpineResult
from siamed.pipeline.scans import read_scan


@pytest.fixture
def later(reader: Any, scan_file: Path) -> SpineResult:
    result = reader.grade(read_scan(scan_file)).result
    bundles = (result.bundles[0], replace(result.bundles[1], repeatability={"pfirrmann": 0.5}))
    return replace(result, bundles=bundles)


def with_pfirrmann(result: SpineResult, level: str, grade: int) -> SpineResult:
    sure = GradeResult(grade, {str(g): float(g == grade) for g in range(1, 6)}, float(grade), (grade,))
    discs = [
        replace(disc, grades={**disc.grades, "pfirrmann": sure}) if disc.level == level else disc
        for disc in result.discs
    ]
    return replace(result, discs=tuple(discs), scan=replace(result.scan, scan_id="scan-earlier"))


def test_a_difference_is_that_of_expected_grades_and_is_held_against_its_noise(later: SpineResult) -> None:
    found = compare_results(with_pfirrmann(later, "L4-L5", 3), later)
    assert found.scan_id == "scan-earlier"
    assert found.remarks == found.unmatched == ()
    now = next(disc for disc in later.discs if disc.level == "L4-L5").grades["pfirrmann"]
    changes = {(change.level, change.task): change for change in found.changes}
    assert len(changes) == 4 * 2
    moved = changes["L4-L5", "pfirrmann"]
    assert (moved.earlier, moved.later, moved.limit) == (3, now.grade, 0.5)
    assert moved.difference == pytest.approx(now.expected - 3)
    assert moved.beyond_noise
    assert not any(change.beyond_noise for key, change in changes.items() if key != ("L4-L5", "pfirrmann"))
    assert changes["L4-L5", "herniation"].limit is None


@pytest.mark.parametrize(("limit", "beyond"), [(0.2, True), (0.31, False)])
def test_improvement_counts_as_worsening_does(later: SpineResult, limit: float, beyond: bool) -> None:
    now = later.discs[3].grades["pfirrmann"]
    earlier = with_pfirrmann(later, "L5-S1", now.grade)
    earlier.discs[3].grades["pfirrmann"] = replace(now, expected=now.expected + 0.3)
    bundles = (later.bundles[0], replace(later.bundles[1], repeatability={"pfirrmann": limit}))
    (change,) = [
        c
        for c in compare_results(earlier, replace(later, bundles=bundles)).changes
        if (c.level, c.task) == ("L5-S1", "pfirrmann")
    ]
    assert change.difference == pytest.approx(-0.3)
    assert change.beyond_noise is beyond


def test_discs_are_matched_by_name_alone(later: SpineResult) -> None:
    shifted = [
        replace(disc, level={"L2-L3": "L1-L2"}.get(disc.level or "", disc.level)) for disc in later.discs
    ]
    shifted[1] = replace(shifted[1], level=None)
    found = compare_results(replace(later, discs=tuple(shifted)), later)
    assert {change.level for change in found.changes} == {"L4-L5", "L5-S1"}
    assert found.unmatched == ("L2-L3", "L3-L4", "L1-L2")


def test_what_makes_a_comparison_doubtful_is_said(later: SpineResult) -> None:
    assert compare_results(later, later).remarks == ("It is the same scan.",)
    scan = replace(later.scan, scan_id="scan-x", subject_id="sub-x", sequence="T1")
    other = (replace(later.bundles[0], sha256="c" * 64), later.bundles[1])
    subject, sequence, weights = compare_results(replace(later, scan=scan, bundles=other), later).remarks
    assert "make sure that both scans are of one person" in subject
    assert sequence == f"It is another sequence: T1, now {later.scan.sequence}."
    assert "graded with other weights" in weights


def test_an_earlier_grading_is_read_from_its_folder_or_file(later: SpineResult, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(later.to_json(), encoding="utf-8")
    assert read_earlier(tmp_path) == read_earlier(file) == later
    with pytest.raises(ValueError, match="result.json is not there"):
        read_earlier(tmp_path / "elsewhere" / "result.json")
    nothing = replace(later, discs=tuple(replace(disc, grades={}) for disc in later.discs))
    file.write_text(nothing.to_json(), encoding="utf-8")
    with pytest.raises(ValueError, match="must hold grades, result.json is of a command that grades nothing"):
        read_earlier(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="result.json is none: "):
        read_earlier(file)

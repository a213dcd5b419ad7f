"""The result of a scan: what is written can be read, and what breaks the schema is refused with its place."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import fields
from typing import Any

import pytest

from siamed.pipeline.facts import BundleFacts, ScanFacts
from siamed.pipeline.results import (
    DiscResult,
    GradeResult,
    SpineResult,
    VertebraResult,
)


def result() -> SpineResult:
    """Two bodies and the disc between them."""
    corners = ((1.0, 20.0, 30.0), (1.0, -14.0, 30.0), (1.0, -14.0, 4.0), (1.0, 20.0, 4.0))
    bodies = tuple(
        VertebraResult(
            level, 0.9, 0.8, False, (1.5, 2.0, 3.0), (1.0, 3.0, 17.0), corners, (1, 5), ("transitional",)
        )
        for level in ("L5", "S1")
    )
    pfirrmann = GradeResult(4, {"1": 0.0, "2": 0.05, "3": 0.15, "4": 0.7, "5": 0.1}, 3.85, (3, 4))
    return SpineResult(
        scan=ScanFacts(
            "scan-1", "sub-1", "T2", (160, 220, 7), (1.0, 1.0, 5.0), "PIR", "MR", ("a [1, 2] note",)
        ),
        bundles=(BundleFacts("spine_mr_disc_grading", "0.1.0", "0" * 64),),
        vertebrae=bodies,
        discs=(DiscResult("L5-S1", (1.0, 3.0, 0.0), (1.5, 2.0, 3.0), (0, 1), {"pfirrmann": pfirrmann}),),
        warnings=("Look closely.",),
        software={"siamed": "0.1.0"},
    )


def data() -> dict[str, Any]:
    return copy.deepcopy(result().to_dict())


def test_what_is_written_is_read_back_the_same() -> None:
    assert SpineResult.from_json(result().to_json()) == result()
    assert SpineResult.from_json(result().to_json(indent=None)) == result()


def test_the_text_is_that_of_the_dictionary() -> None:
    assert json.loads(result().to_json()) == result().to_dict()


def test_a_point_stands_on_one_line_and_a_note_is_left_as_it_is() -> None:
    text = result().to_json()
    assert "[1.0, 3.0, 17.0]" in text
    assert "[160, 220, 7]" in text
    assert '"a [1, 2] note"' in text


def test_the_schema_asks_for_what_the_issue_asks_for() -> None:
    written = data()
    assert written["schema"] == SpineResult.SCHEMA == "siamed/spine/1"
    assert {"scan_id", "subject_id", "sequence", "shape", "spacing_mm", "orientation"} <= set(written["scan"])
    assert {"name", "version", "sha256"} <= set(written["bundles"][0])
    wanted = {
        "level",
        "level_probability",
        "score",
        "partial",
        "center_voxel",
        "center_mm",
        "corners_mm",
        "slices",
    }
    assert wanted <= set(written["vertebrae"][0])
    assert {"level", "center_mm", "grades"} <= set(written["discs"][0])
    assert written["discs"][0]["grades"]["pfirrmann"]["grade"] == 4


def test_every_field_of_the_dataclasses_is_required_by_the_schema() -> None:
    for name in (f.name for f in fields(SpineResult)):
        broken = data()
        del broken[name]
        with pytest.raises(ValueError, match=f"'{name}' is a required property"):
            SpineResult.check(broken)


def test_an_unnamed_level_is_null() -> None:
    written = data()
    written["vertebrae"][0]["level"] = written["discs"][0]["level"] = None
    read = SpineResult.from_dict(written)
    assert read.vertebrae[0].level is None
    assert read.discs[0].level is None


def set_at(place: str, value: Any) -> dict[str, Any]:
    """The good data with one value replaced; ``place`` is a dotted path."""
    broken: Any = data()
    *way, last = place.split(".")
    target = broken
    for part in way:
        target = target[int(part) if isinstance(target, list) else part]
    target[int(last) if isinstance(target, list) else last] = value
    return broken


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("schema", "siamed/spine/2", r"at \$\.schema"),
        ("scan.shape", [160, 220], r"at \$\.scan\.shape"),
        ("scan.spacing_mm", [1.0, 0, 5.0], r"at \$\.scan\.spacing_mm\[1\]"),
        ("scan.orientation", "XYZ", r"at \$\.scan\.orientation"),
        ("scan.patient_name", "Doe", r"patient_name"),
        ("bundles.0.sha256", "abc", r"at \$\.bundles\[0\]\.sha256"),
        ("vertebrae.0.level", "lumbar 5", r"at \$\.vertebrae\[0\]\.level"),
        ("vertebrae.0.score", 1.2, r"at \$\.vertebrae\[0\]\.score"),
        ("vertebrae.0.center_mm", [math.nan, 0.0, 0.0], r"finite at \$\.vertebrae\.0\.center_mm\.0"),
        ("vertebrae.0.corners_mm", [[0.0, 0.0, 0.0]] * 3, r"at \$\.vertebrae\[0\]\.corners_mm"),
        ("vertebrae.1.level", "L5", r"vertebrae must not give a level twice"),
        ("vertebrae.0.slices", [5, 1], r"slices of vertebra 0 must be \(first, last\)"),
        ("discs.0.vertebrae", [1, 2], r"vertebrae of disc 0 must be two neighbors among 2"),
        ("discs.0.grades.pfirrmann.grade", 6, r"pfirrmann of disc 0 must be one of"),
        ("discs.0.grades.pfirrmann.probabilities.4", 0.9, r"must sum to 1, got 1\.2000"),
        ("discs.0.grades.pfirrmann.likely", [2, 3], r"must be classes and hold the grade 4, got \[2, 3\]"),
        ("discs.0.grades.pfirrmann.likely", [4, 6], r"must be classes and hold the grade 4, got \[4, 6\]"),
        ("discs.0.grades.pfirrmann.probabilities.four", 0.0, r"at \$\.discs\[0\]\.grades\.pfirrmann"),
    ],
)
def test_a_breach_is_refused_with_its_place(place: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpineResult.from_dict(set_at(place, value))


def test_a_result_that_breaks_the_schema_is_not_written() -> None:
    with pytest.raises(ValueError, match=re.escape("$.bundles[0].sha256")):
        SpineResult(result().scan, (BundleFacts("a", "1", "none"),), (), ()).to_json()

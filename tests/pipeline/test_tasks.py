"""Tasks are data: two shipped sets, and one of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline import tasks as stage
from siamed.pipeline.grading.tasks import TASKS, class_counts, class_indices, given_classes
from siamed.pipeline.tasks import SPIDER, SPINENET, add_task_set, loss_weights, task_title, value_title


@pytest.fixture
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in (stage._KNOWN, stage.GRADES):
        monkeypatch.setitem(known, "stenosis", None)
        del known["stenosis"]


def written(folder: Path, *tasks: dict) -> Path:
    path = folder / "tasks.json"
    path.write_text(json.dumps({"description": "", "tasks": tasks}), encoding="utf-8")
    return path


def test_the_shipped_sets_are_spiders_and_the_papers() -> None:
    assert [len(task.grades) for task in SPIDER] == [5, 2, 2, 2, 4, 2, 2, 2]
    # [jamaludin2016spinenet, Table 1]: Pfirrmann 1 to 5, narrowing 1 to 4, and four of normal and abnormal.
    assert [task.grades for task in SPINENET[:2]] == [(1, 2, 3, 4, 5), (1, 2, 3, 4)]
    assert [task.grades for task in SPINENET[2:]] == [(0, 1)] * 4
    assert {task.weight for task in SPINENET} == {1.0}
    assert loss_weights(["pfirrmann", "modic"]) == [1.0, 0.15]


def test_an_ordered_grade_is_the_median_and_a_type_the_most_probable() -> None:
    shares = [[0.0, 0.4, 0.35, 0.25, 0.0], [0.6, 0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 1]]
    given = given_classes("pfirrmann", np.array(shares))
    assert given.tolist() == [2, 0, 0, 4]
    # No other grade has a smaller expected distance from the true one.
    distances = np.abs(np.arange(5)[:, None] - np.arange(5)) @ np.array(shares).T
    np.testing.assert_allclose(distances[given, np.arange(4)], distances.min(0))
    assert given_classes("modic", np.array([0.4, 0.35, 0.25, 0.0])) == 0
    assert given_classes("bulging", np.array([[0.4, 0.6], [0.5, 0.5]])).tolist() == [1, 0]


def test_grades_are_said_in_words() -> None:
    assert task_title("upper_marrow") == "Upper marrow changes"
    assert task_title("annular_tear") == "Annular tear"
    assert [value_title("modic", grade, 4) for grade in range(4)] == ["none", "type 1", "type 2", "type 3"]
    assert (value_title("bulging", 1, 2), value_title("narrowing_grade", 2, 4)) == ("yes", "2")


def test_a_set_of_ones_own_can_be_graded(_as_before: None, tmp_path: Path) -> None:
    own = {"name": "stenosis", "title": "Stenosis", "grades": [0, 1, 2], "weight": 0.5}
    own["words"] = ["no", "mild", "severe"]
    (task,) = add_task_set(written(tmp_path, own))
    assert TASKS["stenosis"] == task.grades == (0, 1, 2)
    assert class_counts(["pfirrmann", "stenosis"]) == [5, 3]
    assert class_indices({"stenosis": 2}, ["stenosis"]) == [2]
    assert (value_title("stenosis", 2, 3), loss_weights(["stenosis"])) == ("severe", [0.5])
    add_task_set(written(tmp_path, own))  # the same again changes nothing
    with pytest.raises(ValueError, match="name of a task must not be taken by another, stenosis has"):
        add_task_set(written(tmp_path, {**own, "grades": [0, 1], "words": ["no", "yes"]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Disc bulging"}, "name of a task must be of small letters"),
        ({"grades": [1]}, "grades of stenosis must be two or more rising"),
        ({"grades": [1, 0]}, "grades of stenosis must be two or more rising"),
        ({"grades": [0, 0.5]}, "grades of stenosis must be two or more rising"),
        ({"words": ["no"]}, "words of stenosis must be 2, one a grade, got 1"),
    ],
)
def test_a_wrong_set_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        add_task_set(written(tmp_path, {"name": "stenosis", "grades": [0, 1], **change}))
    with pytest.raises(ValueError, match="tasks must be named once each"):
        add_task_set(written(tmp_path, *2 * [{"name": "stenosis", "grades": [0, 1]}]))

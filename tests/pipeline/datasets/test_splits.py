"""Splits by patient: nobody is in two folds, families stay together, strata are spread."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.datasets.splits import (
    check_no_leak,
    count_folds,
    fold_parts,
    held_out,
    main,
    make_folds,
    read_folds,
)


def discs(patients: int = 40, seed: int = 0) -> tuple[list[str], list[int]]:
    """Five discs a patient, graded 1 to 5 around the patient's own wear."""
    rng = np.random.default_rng(seed)
    subjects = [str(p) for p in range(1, patients + 1) for _ in range(5)]
    wear = np.repeat(rng.uniform(1, 5, patients), 5)
    return subjects, [int(np.clip(round(w), 1, 5)) for w in wear + rng.normal(0, 0.7, len(wear))]


def test_each_patient_is_in_one_fold() -> None:
    subjects, grades = discs()
    folds = make_folds(subjects, grades, 5, seed=1)
    assert sorted(s for fold in folds for s in fold) == sorted(set(subjects))
    check_no_leak(folds)


def test_folds_have_like_shares_of_each_grade() -> None:
    subjects, grades = discs(patients=200)
    folds = make_folds(subjects, grades, 5, seed=1)
    whole = np.bincount(grades, minlength=6) / len(grades)
    for members in folds:
        held = [g for s, g in zip(subjects, grades, strict=True) if s in members]
        assert np.abs(np.bincount(held, minlength=6) / len(held) - whole).max() < 0.06


def test_twins_stay_together() -> None:
    subjects, grades = discs()
    families = {str(p): f"family {p // 2}" for p in range(1, 41)}
    folds = make_folds(subjects, grades, 5, seed=1, families=families)
    check_no_leak(folds, families)
    with pytest.raises(ValueError, match="'family 1' is in folds 0 and 1"):
        check_no_leak([["2"], ["3"]], families)


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    subjects, grades = discs()
    assert make_folds(subjects, grades, 5, seed=1) == make_folds(subjects, grades, 5, seed=1)
    assert make_folds(subjects, grades, 5, seed=1) != make_folds(subjects, grades, 5, seed=2)


def test_a_leak_in_a_split_file_is_refused(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["1", "2"], ["3", "1"]]}))
    with pytest.raises(ValueError, match="'1' is in folds 0 and 1"):
        read_folds(split)
    split.write_text(json.dumps({"folds": [["1", "1"], ["3"]]}))
    with pytest.raises(ValueError, match="each subject once"):
        read_folds(split)


def test_parts_of_a_split(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [[1, 2], [3], [4, 5]]}))
    assert fold_parts(split, 1, "validation") == ["3"]
    assert fold_parts(split, 1, "training") == ["1", "2", "4", "5"]
    # Without a fold all train; fold 0 is watched, which is then no estimate.
    assert fold_parts(split, None, "training") == ["1", "2", "3", "4", "5"]
    assert fold_parts(split, None, "validation") == ["1", "2"]
    with pytest.raises(ValueError, match="fold must be null or one of 0 to 2, got 3"):
        fold_parts(split, 3, "training")
    with pytest.raises(ValueError, match="part must be one of .*, got 'all'"):
        fold_parts(split, 0, "all")


def test_a_split_of_two_lists_knows_no_folds_and_no_overlap(tmp_path: Path) -> None:
    split = tmp_path / "lists.json"
    split.write_text(json.dumps({"training": [1, 2], "validation": [3]}))
    assert fold_parts(split, None, "training") == ["1", "2"]
    assert fold_parts(split, None, "validation") == ["3"]
    with pytest.raises(ValueError, match=r"fold must be null for a split of lists, lists.json, got 0"):
        fold_parts(split, 0, "training")
    split.write_text(json.dumps({"training": [1, 3], "validation": [3]}))
    with pytest.raises(ValueError, match="'3' is in folds 0 and 1"):
        fold_parts(split, None, "training")


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 for 2"):
        make_folds(["1", "1", "2"], [1, 2, 3], 3, seed=0)


def test_the_command_writes_a_split_of_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    header = "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis"
    rows = [header + ",Disc herniation,Disc narrowing,Disc bulging,Pfirrman grade"]
    for patient in range(1, 7):
        (tmp_path / "images" / f"{patient}_t2.mha").touch()
        rows += [f"{patient},{disc},0,0,0,0,0,0,0,{1 + patient % 2}" for disc in (1, 2)]
    (tmp_path / "radiological_gradings.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "folds.json"
    assert main(["--dataset_dir", str(tmp_path), "--folds", "3", "--out", str(out)]) == 0
    folds = read_folds(out)
    assert sorted(s for fold in folds for s in fold) == ["1", "2", "3", "4", "5", "6"]
    # Grade 1 for even and 2 for odd patients: two patients a fold, one of each.
    assert all(len(fold) == 2 and sum(int(s) for s in fold) % 2 == 1 for fold in folds)


def test_a_draw_has_subjects_that_no_choice_sees(tmp_path: Path) -> None:
    split = tmp_path / "draws.json"
    draws = [
        {"training": ["1", "2"], "validation": ["3"], "test": ["4", "5"]},
        {"training": ["4", "5"], "validation": ["1"], "test": ["2", "3"]},
    ]
    split.write_text(json.dumps({"draws": draws}))
    assert count_folds(split) == 2
    assert [fold_parts(split, 1, part) for part in ("training", "validation", "test")] == [
        ["4", "5"],
        ["1"],
        ["2", "3"],
    ]
    assert held_out(split, 0) == ["4", "5"]
    with pytest.raises(ValueError, match="fold must be one of 0 to 1, got None"):
        fold_parts(split, None, "training")
    draws[0]["test"].append("1")
    split.write_text(json.dumps({"draws": draws}))
    with pytest.raises(ValueError, match="'1' is in folds 0 and 2"):
        fold_parts(split, 0, "training")


def test_without_a_test_part_the_validation_part_is_scored(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["1"], ["2"], ["3"]]}))
    assert count_folds(split) == 3
    assert held_out(split, 2) == ["3"]
    with pytest.raises(ValueError, match=r"part must be one of \['training', 'validation'\] .*got 'test'"):
        fold_parts(split, 2, "test")
    split.write_text(json.dumps({"training": ["1"], "validation": ["2"], "test": ["3"]}))
    assert held_out(split, None) == ["3"]
    with pytest.raises(ValueError, match="fold must be null for a split of lists, folds.json, got 0"):
        held_out(split, 0)

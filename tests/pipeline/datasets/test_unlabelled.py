"""Scans to pretrain on: which files are scans, whose they are, and who is held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamed.pipeline.datasets.splits import watch_split
from siamed.pipeline.datasets.unlabelled import unlabelled_items, unlabelled_manifest


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def cases(root: Path, part: str, split: Path | None = None, fold: int | None = None) -> list[str]:
    return [item["case_id"] for item in unlabelled_items(root, split, fold, part)]


def test_every_file_but_label_maps_and_hidden_ones_is_a_scan(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "site/a.nii.gz", "site/._a.nii.gz", "site/a_seg.nii.gz", "masks/a.nii.gz")
    touch(tmp_path, "deep/case_00001/imaging.nii.gz", "deep/case_00001/segmentation.nii.gz", "notes.txt")
    assert unlabelled_items(tmp_path, None, None, "training") == [
        {"image": str(tmp_path / "b.nii"), "case_id": "b", "subject_id": "b"},
        {
            "image": str(tmp_path / "deep/case_00001/imaging.nii.gz"),
            "case_id": "deep/case_00001/imaging",
            "subject_id": "deep/case_00001/imaging",
        },
    ]
    assert cases(tmp_path, "validation") == ["site/a"]


def test_known_layouts_give_their_images_with_and_without_labels(tmp_path: Path) -> None:
    touch(tmp_path / "pairs", "1_image.nii.gz", "1_label.nii.gz", "2_image.nii.gz", "other.nii.gz")
    assert [row.label for row in unlabelled_manifest(tmp_path / "pairs").scans] == ["1_label.nii.gz", ""]
    touch(tmp_path / "kits", "case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz")
    assert [row.image for row in unlabelled_manifest(tmp_path / "kits").scans] == [
        "case_00001/imaging.nii.gz"
    ]
    listed = {"training": [], "test": ["imagesTs/x.nii.gz"], "modality": {"0": "MRI"}}
    touch(tmp_path / "task", "imagesTs/x.nii.gz", "imagesTs/y.nii.gz")
    (tmp_path / "task" / "dataset.json").write_text(json.dumps(listed))
    assert [row.case_id for row in unlabelled_manifest(tmp_path / "task").scans] == ["x"]


def test_scans_of_one_subject_stay_on_one_side(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{person}{visit}.nii.gz" for person in "abc" for visit in (1, 2)))
    table = "".join(f"{person}{visit},{person}\n" for person in "abc" for visit in (1, 2))
    (tmp_path / "subjects.csv").write_text("case_id,subject_id\n" + table)
    assert cases(tmp_path, "training") == ["a1", "a2", "b1", "b2"]
    assert cases(tmp_path, "validation") == ["c1", "c2"]
    (tmp_path / "subjects.csv").write_text("case_id,subject_id\na1,\n")
    with pytest.raises(ValueError, match="subject of every case, it lacks 'a1'"):
        unlabelled_items(tmp_path, None, None, "training")
    (tmp_path / "subjects.csv").write_text("case,subject\na1,a\n")
    with pytest.raises(
        ValueError, match=r"columns \['case_id', 'subject_id'\], it lacks \['case_id', 'subject"
    ):
        unlabelled_items(tmp_path, None, None, "training")


def test_names_tell_scans_of_one_subject_where_no_table_does(tmp_path: Path) -> None:
    bids = [f"sub-{n}/ses-{k}/anat/sub-{n}_ses-{k}_T2w.nii.gz" for n in (1, 2) for k in (1, 2)]
    touch(tmp_path, *bids, "anna/t1.nii", "anna/t2.nii", "ben_t1.nii", "ben_t2_SPACE.nii", "t2.nii")
    touch(tmp_path, "a/1.nii", "b/1.nii", "a/site/eve_t1.nii", "a/site/eve/eve_t2.nii")
    found = {row.case_id: row.subject_id for row in unlabelled_manifest(tmp_path).scans}
    assert found == {
        "sub-1/ses-1/anat/sub-1_ses-1_T2w": "sub-1",
        "sub-1/ses-2/anat/sub-1_ses-2_T2w": "sub-1",
        "sub-2/ses-1/anat/sub-2_ses-1_T2w": "sub-2",
        "sub-2/ses-2/anat/sub-2_ses-2_T2w": "sub-2",
        "anna/t1": "anna",
        "anna/t2": "anna",
        "ben_t1": "ben",
        "ben_t2_SPACE": "ben",
        "t2": "t2",
        "a/1": "a/1",
        "b/1": "b/1",
        "a/site/eve_t1": "a/site/eve",
        "a/site/eve/eve_t2": "a/site/eve",
    }


def test_every_fifth_subject_is_held_out_in_the_order_of_numbers() -> None:
    training, held = watch_split([str(n) for n in (12, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10)])
    assert held == ["5", "10"]
    assert training == ["1", "2", "3", "4", "6", "7", "8", "9", "11", "12"]
    assert watch_split(["b", "10", "a"]) == (["10", "a"], ["b"])
    assert watch_split(["01", "1"]) == watch_split(["1", "01"]) == (["01"], ["1"])
    assert watch_split(["a", "b", "c", "d"], every=2) == (["a", "c"], ["b", "d"])
    with pytest.raises(ValueError, match="every must be 2 or more, .* got 1"):
        watch_split(["a"], every=1)
    with pytest.raises(ValueError, match="at least one subject, got none"):
        watch_split([])


def test_a_single_subject_trains_and_is_watched_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.nii.gz")
    assert cases(tmp_path, "training") == cases(tmp_path, "validation") == ["a"]
    assert "nothing is held out" in caplog.text


def test_a_split_decides_and_one_of_other_subjects_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "a.nii.gz", "b.nii.gz", "c.nii.gz")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["b", "absent"], ["a"]]}))
    scans = tmp_path / "scans"
    assert cases(scans, "training", split, 0) == ["a"]
    assert cases(scans, "validation", split, 0) == ["b"]
    assert cases(scans, "training", split, None) == ["a", "b"]  # c is in no fold
    split.write_text(json.dumps({"folds": [["x"], ["y", "z"]]}))
    with pytest.raises(ValueError, match="the split's training part, 'scans' holds none of its 2 subjects"):
        unlabelled_items(scans, split, 0, "training")


def test_wrong_arguments_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="part must be 'training' or 'validation' without a split, got 'test'"
    ):
        unlabelled_items(tmp_path, None, None, "test")
    with pytest.raises(ValueError, match="fold must be null where there is no split, got 0"):
        unlabelled_items(tmp_path, None, 0, "training")
    with pytest.raises(ValueError, match="scans as NIfTI files .* holds none: bring DICOM"):
        unlabelled_items(touch(tmp_path, "a.dcm", "a_label.nii.gz"), None, None, "training")
    with pytest.raises(ValueError, match="must be a folder that exists, got 'absent'"):
        unlabelled_items(tmp_path / "absent", None, None, "training")


@pytest.mark.data
def test_chaos_gives_its_scans_and_holds_three_of_sixteen_patients_out(data_folder: Path) -> None:
    training, held = (
        unlabelled_items(data_folder / "abdomen_chaos_t2spir", None, None, part)
        for part in ("training", "validation")
    )
    assert [item["subject_id"] for item in held] == ["10", "31", "38"]  # of 01, 03, 05, 08, 10, 15, ...
    assert len(training) == 13
    assert all(item["image"].endswith("_image.nii.gz") for item in training + held)

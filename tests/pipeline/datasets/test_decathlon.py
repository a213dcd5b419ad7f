"""Tasks of the Medical Segmentation Decathlon, on small folders in its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siamed.pipeline.datasets.decathlon import decathlon_manifest, is_decathlon
from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.segmentation.training_data import labelled_items

TRAINING = [
    {"image": "./imagesTr/liver_2.nii.gz", "label": "./labelsTr/liver_2.nii.gz"},
    {"image": "./imagesTr/liver_10.nii.gz", "label": "./labelsTr/liver_10.nii.gz"},
]


def task(root: Path, **changed: Any) -> Path:
    """A task with two labelled scans and a test scan; keywords change ``dataset.json``."""
    content = {
        "name": "Liver",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver"},
        "training": TRAINING,
        "test": ["./imagesTs/liver_132.nii.gz"],
    }
    names = [name for entry in TRAINING for name in entry.values()] + ["imagesTs/liver_132.nii.gz"]
    for name in (*names, "imagesTr/._liver_2.nii.gz", "imagesTr/not_listed.nii.gz"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "dataset.json").write_text(json.dumps(content | changed), encoding="utf-8")
    return root


def test_the_list_says_what_there_is_and_test_images_have_no_label(tmp_path: Path) -> None:
    manifest = segmentation_manifest(task(tmp_path))
    assert manifest == decathlon_manifest(tmp_path)
    assert [(s.case_id, s.subject_id, s.sequence, s.image, s.label) for s in manifest.scans] == [
        ("liver_2", "liver_2", "CT", "imagesTr/liver_2.nii.gz", "labelsTr/liver_2.nii.gz"),
        ("liver_10", "liver_10", "CT", "imagesTr/liver_10.nii.gz", "labelsTr/liver_10.nii.gz"),
        ("liver_132", "liver_132", "CT", "imagesTs/liver_132.nii.gz", ""),
    ]
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["liver_2"], ["liver_10", "liver_132"]]}), encoding="utf-8")
    items = labelled_items(tmp_path, split, 0, "training")
    assert [item["case_id"] for item in items] == ["liver_10"]  # the test scan trains nobody
    assert items[0]["label"] == str(tmp_path / "labelsTr/liver_10.nii.gz")


def test_companions_of_macos_are_passed_over_where_they_are_listed(tmp_path: Path) -> None:
    listed = ["./imagesTs/._liver_132.nii.gz", "./imagesTs/liver_132.nii.gz"]
    assert len(decathlon_manifest(task(tmp_path, test=listed)).scans) == 3


def test_a_table_says_which_images_show_one_person(tmp_path: Path) -> None:
    rows = "case_id,subject_id\nliver_2,p\nliver_10,p\nliver_132,q\n"
    (task(tmp_path) / "subjects.csv").write_text(rows, encoding="utf-8")
    assert [s.subject_id for s in decathlon_manifest(tmp_path).scans] == ["p", "p", "q"]


def test_the_list_of_nnunets_first_version_names_files_without_their_channel(tmp_path: Path) -> None:
    image = task(tmp_path) / "imagesTr" / "liver_2.nii.gz"
    image.rename(image.with_name("liver_2_0000.nii.gz"))
    row = decathlon_manifest(tmp_path).scans[0]
    assert (row.case_id, row.image) == ("liver_2", "imagesTr/liver_2_0000.nii.gz")


def test_another_dataset_json_is_no_task(tmp_path: Path) -> None:
    """nnU-Net's second version has a file of this name, and says nothing of cases in it."""
    task(tmp_path)
    (tmp_path / "dataset.json").write_text('{"numTraining": 2, "channel_names": {"0": "CT"}}')
    assert not is_decathlon(tmp_path)
    assert [s.case_id for s in segmentation_manifest(tmp_path).scans] == ["liver_10", "liver_2", "not_listed"]
    with pytest.raises(
        ValueError, match="must hold dataset.json with a list 'training', .* does not: give the"
    ):
        decathlon_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"modality": {"0": "T2", "1": "ADC"}}, "must name one modality, got .*ADC.*: save one channel"),
        ({"modality": "CT"}, "must name one modality, got CT"),
        ({"training": [], "test": []}, "must list scans, .* lists none"),
        ({"training": [{"image": "./imagesTr/liver_2.nii.gz"}]}, "must list image and label .* under 'test'"),
        ({"test": [7]}, "must give paths as text, got 7"),
        ({"test": ["./imagesTs/absent.nii.gz"]}, "files that are there, './imagesTs/absent.nii.gz' is not"),
        ({"test": ["../imagesTs/liver_132.nii.gz"]}, "paths below its own folder, got '../imagesTs"),
        ({"test": ["imagesTs/../../x.nii.gz"]}, "paths below its own folder, got 'imagesTs/../../x"),
        ({"test": ["/x.nii.gz"]}, "paths below its own folder, got '/x.nii.gz'"),
        ({"test": ["./imagesTr/liver_2.nii.gz"]}, "'liver_2' occurs more than once"),
    ],
)
def test_a_wrong_list_is_refused_with_what_to_do(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        segmentation_manifest(task(tmp_path, **changed))


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    (task(tmp_path) / "dataset.json").write_text('{"training": [')
    with pytest.raises(ValueError, match="dataset.json must be JSON"):
        segmentation_manifest(tmp_path)

"""Folders of segmented scans in the layouts that are known, and what is said of any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamed.pipeline.datasets.image_label_folder import image_label_manifest, segmentation_manifest
from siamed.pipeline.datasets.kits19 import is_kits19


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def rows(root: Path) -> list[tuple[str, str, str, str]]:
    return [(s.case_id, s.subject_id, s.image, s.label) for s in segmentation_manifest(root).scans]


def test_images_beside_their_labels(tmp_path: Path) -> None:
    touch(tmp_path, "03_image.nii.gz", "03_label.nii.gz", "01_image.nii.gz", "._01_image.nii.gz")
    assert rows(tmp_path) == [
        ("01", "01", "01_image.nii.gz", ""),
        ("03", "03", "03_image.nii.gz", "03_label.nii.gz"),
    ]


@pytest.mark.parametrize(("images", "labels"), [("imagesTr", "labelsTr"), ("images", "labels")])
def test_images_and_labels_in_folders_of_their_own(tmp_path: Path, images: str, labels: str) -> None:
    touch(tmp_path, f"{images}/a_0000.nii.gz", f"{labels}/a.nii.gz", f"{images}/b.nii")
    assert rows(tmp_path) == [
        ("a", "a", f"{images}/a_0000.nii.gz", f"{labels}/a.nii.gz"),
        ("b", "b", f"{images}/b.nii", ""),
    ]


def test_kits19_as_it_is_handed_out(tmp_path: Path) -> None:
    touch(tmp_path, "case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz", "kits.json")
    touch(tmp_path, "case_00211/imaging.nii.gz", "case_00007/segmentation.nii.gz")
    assert is_kits19(tmp_path)
    assert rows(tmp_path) == [
        ("case_00001", "case_00001", "case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz"),
        ("case_00211", "case_00211", "case_00211/imaging.nii.gz", ""),
    ]
    bare = touch(tmp_path / "bare", "case_00007/segmentation.nii.gz")
    with pytest.raises(ValueError, match="must hold case_NNNNN/imaging.nii.gz, 'bare' holds none"):
        segmentation_manifest(bare)


def test_two_scans_of_one_subject_are_named_by_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "a_image.nii.gz", "b_image.nii.gz")
    (tmp_path / "subjects.csv").write_text("case_id,subject_id\na,p\nb,p\n", encoding="utf-8")
    assert [row[:2] for row in rows(tmp_path)] == [("a", "p"), ("b", "p")]
    (tmp_path / "subjects.csv").write_text("case_id,subject_id\na,p\n", encoding="utf-8")
    with pytest.raises(ValueError, match="subject of every case, it lacks 'b'"):
        segmentation_manifest(tmp_path)


def test_any_other_folder_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="NAME_image.nii.gz with NAME_label.nii.gz, imagesTr/ with labelsTr/"
    ):
        image_label_manifest(touch(tmp_path / "other", "scan.nii.gz"))

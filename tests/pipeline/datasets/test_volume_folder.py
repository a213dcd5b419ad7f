"""A folder of volumes: every NIfTI file below it, and nothing that only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamed.pipeline.datasets.volume_folder import volume_items


def test_nifti_files_of_all_folders_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.nii", "day/a.nii.gz", "day/._a.nii.gz", "notes.txt", "c.nii.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = volume_items(tmp_path)
    assert [item["name"] for item in found] == ["b", "a"]
    assert [Path(item["image"]).name for item in found] == ["b.nii", "a.nii.gz"]


def test_a_folder_without_volumes_is_named(tmp_path: Path) -> None:
    (tmp_path / "._a.nii.gz").touch()
    with pytest.raises(ValueError, match=f"folder must hold volumes as NIfTI files, '{tmp_path.name}'"):
        volume_items(tmp_path)

"""Kidneys cut for the side proxy, and kidneys labelled from a probability."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.datasets.manifest import Manifest
from siamed.pipeline.kidneys.prepare import (
    labelled_scans,
    main,
    mask_manifest,
    prepare_kidneys,
    rendered_maps,
    scans_without_labels,
)
from siamed.pipeline.pairs.training_data import load_volumes
from siamed.pipeline.pairs.volumes import VolumeTable
from siamed.pipeline.synthesis.prepare import MapRow, write_maps
from siamed.transforms.tissues import tissue_number

HPARAMS = {
    "spacing_mm": [4.0, 3.0, 3.0],
    "divisor": 4,
    "surroundings_mm": 25.0,
    "surroundings_floor": 0.02,
    "window_top": 3.0,
    "bright": [99.0, 1.0],
    "region": [20, 16, 16],
}
RIGHT_BOX, LEFT_BOX = np.s_[40:50, 10:20, 4:16], np.s_[6:18, 10:20, 10:26]


def scan(right: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label and affine in RAS; the right kidney is brighter, smaller and lower."""
    label = np.zeros((60, 40, 30), np.uint8)
    label[LEFT_BOX] = 3
    if right:
        label[RIGHT_BOX] = 2
    label[25:35, 25:35, 5:25] = 1  # another organ
    image = np.array([100.0, 150.0, 400.0, 300.0])[label] + np.arange(30)
    image[:2] = image[-2:] = 0
    return image.astype(np.float32), label, np.diag([3.0, 3.0, 4.0, 1.0])


def folder(root: Path) -> Path:
    for name, right in (("a", True), ("b", False), ("c", True)):
        image, label, affine = scan(right)
        nibabel.save(nibabel.Nifti1Image(image, affine), root / f"{name}_image.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), root / f"{name}_label.nii.gz")
    return root


def prepared(manifest: Manifest, out: Path, shape: bool = False) -> VolumeTable:
    scans = labelled_scans(manifest, [2, 3], HPARAMS, shape)
    return prepare_kidneys(scans, HPARAMS["region"], out)


def test_each_scan_with_two_kidneys_gives_both_and_every_scan_an_outcome(tmp_path: Path) -> None:
    manifest = segmentation_manifest(folder(tmp_path))
    table = prepared(manifest, tmp_path / "out")
    assert table["level"].tolist() == ["right kidney", "left kidney"] * 2
    assert table["scan_id"].tolist() == ["a", "a", "c", "c"]
    with (tmp_path / "out" / "outcomes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["outcome"]) for row in rows] == [
        ("a", "two_kidneys"),
        ("b", "side_unknown"),
        ("c", "two_kidneys"),
    ]
    assert [rows[0][name] for name in ("cut", "right_inside", "left_inside")] == ["", "1.0000", "1.0000"]
    volumes = load_volumes(VolumeTable.read(tmp_path / "out" / "volumes.csv")).float()
    assert tuple(volumes.shape) == (4, 20, 16, 16)
    # Each kidney alone: as many voxels as it has, the right one brighter, nothing around.
    counts = [int((volume != 0).sum()) for volume in volumes[:2]]
    assert counts == [10 * 10 * 12, 12 * 10 * 16]
    right, left = (volume[volume != 0].mean() for volume in volumes[:2])
    assert right > left + 0.5
    assert bool((volumes[:, [0, -1]] == 0).all())


def test_shapes_alone_are_ones(tmp_path: Path) -> None:
    manifest = segmentation_manifest(folder(tmp_path))
    table = prepared(manifest, tmp_path / "out", shape=True)
    volumes = load_volumes(table)
    assert set(volumes.unique().tolist()) == {0.0, 1.0}
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a", "c"):
        (tmp_path / f"{name}_label.nii.gz").rename(masks / f"{name}.nii.gz")
    again = prepared(mask_manifest(masks), tmp_path / "again", shape=True)
    assert again["sha256"].tolist() == table["sha256"].tolist()
    with pytest.raises(ValueError, match=r"label maps NAME.nii.gz, 'empty' holds none"):
        mask_manifest(tmp_path / "empty")


def test_without_labels_both_regions_mirror_each_other_and_keep_what_is_in_them(tmp_path: Path) -> None:
    for path in folder(tmp_path).glob("*_label.nii.gz"):
        path.unlink()
    scans = scans_without_labels(segmentation_manifest(tmp_path), HPARAMS)
    table = prepare_kidneys(scans, HPARAMS["region"], tmp_path / "out")
    assert table["scan_id"].tolist() == ["a", "a", "b", "b", "c", "c"]
    assert table["level"].tolist() == ["right kidney", "left kidney"] * 3
    files = [nibabel.load(path) for path in table.paths()[:2]]
    middles = [file.affine @ [*((n - 1) / 2 for n in file.shape), 1] for file in files]
    # The body's middle is x = 3 * 29.5 mm, its back y = 0; a voxel is 3 mm.
    assert middles[0][0] - 3 * 29.5 == pytest.approx(65, abs=3)
    assert 3 * 29.5 - middles[1][0] == pytest.approx(65, abs=3)
    assert middles[0][1] == middles[1][1] == pytest.approx(70, abs=3)
    assert middles[0][2] == middles[1][2] == pytest.approx(4 * 14.5, abs=4)
    assert load_volumes(table).unique().numel() > 3  # another organ, what lies around


def test_maps_give_kidneys_with_intensities(tmp_path: Path) -> None:
    tissues = np.full((32, 40, 48), tissue_number("visceral fat"), np.uint8)
    tissues[8:24, 20:32, 6:16] = tissues[6:20, 20:32, 32:42] = tissue_number("renal cortex")
    write_maps(tmp_path, [MapRow.save(tmp_path, "p_0", "p", "kits19", tissues, 4.0)])
    hparams = {"spacing_mm": [4.0, 4.0, 4.0], "divisor": 4, "window_hu": [-80, 300], "region": [20, 16, 16]}
    table = prepare_kidneys(
        rendered_maps(tmp_path, hparams, 0, shape=False), hparams["region"], tmp_path / "out"
    )
    assert table["subject_id"].tolist() == ["p", "p"]
    volumes = load_volumes(table)
    # D to the feet, W to the left: the first block is the right kidney, and the larger one.
    assert [int((volume != 0).sum()) for volume in volumes] == pytest.approx([1920, 1680], rel=0.02)
    assert all(volume[volume != 0].unique().numel() > 100 for volume in volumes)


def test_the_command_takes_what_goes_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset_dir", str(folder(tmp_path)), "--bundle", "kidney_mr_siamese_pretraining"]
    words += ["--out", str(tmp_path / "out")]
    for wrong, said in (
        (["--without_labels", "--shape"], "with neither --labels nor --shape"),
        ([], "--labels must say which values are kidney"),
    ):
        with pytest.raises(SystemExit):
            main([*words, *wrong])
        assert said in capsys.readouterr().err
    sizes = ["--spacing_mm", "4", "3", "3", "--region", "20", "16", "16"]
    assert main([*words, "--labels", "2", "3", *sizes]) == 0
    assert tuple(load_volumes(VolumeTable.read(tmp_path / "out" / "volumes.csv")).shape) == (4, 20, 16, 16)

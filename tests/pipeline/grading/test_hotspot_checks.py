"""The command that checks hotspots: its parts on data made here, and the table that it prints."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from siamed.pipeline.detection import Column, Disc, Vertebra
from siamed.pipeline.grading import hotspot_checks
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.tasks import MISSING, TASKS

AFFINE = np.array([[-4.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
TOPS, HEIGHT = (20, 60), 28


def two_bodies(image: MetaTensor) -> Column:
    """Bodies of rows 20 to 47 and 60 to 87, columns 40 to 73, in all slices."""
    bodies = []
    for top in TOPS:
        rows, columns = np.array([top, top, top + HEIGHT, top + HEIGHT]), np.array([40.0, 74.0, 74.0, 40.0])
        slices = range(image.shape[1])
        corners = {d: np.stack([-4.0 * d + 0 * rows, -columns, -rows.astype(float)], 1) for d in slices}
        bodies.append(Vertebra("L4", 0.9, 0.9, False, corners, image.shape[1] // 2))
    return Column(tuple(bodies), (Disc(0, 1, None, np.zeros(3)),), ())


def test_a_readers_region_is_the_disc_and_the_endplates_next_to_it(tmp_path: Path) -> None:
    label = np.zeros((5, 120, 120), np.uint8)
    for top in TOPS:
        label[:, top : top + HEIGHT, 40:74] = 1
    label[1:4, 48:60, 44:70] = 2
    label[:, 10:100, 80:90] = 3
    image = np.where(label == 1, 150.0, 60.0).astype(np.float32)
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    ((volume, region),) = hotspot_checks.reader_regions(
        tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", two_bodies
    )
    assert tuple(volume.shape) == (1, 9, 160, 320)
    assert [bool(region[d].any()) for d in range(9)] == [d in (3, 4, 5) for d in range(9)]
    # The disc's width of 34 mm takes 112 pixels: a pixel is 0.304 mm, four mm are 13 pixels.
    rows, columns = (np.flatnonzero(region[4].any(axis).numpy()) for axis in (1, 0))
    pixel = 34 / 112
    assert len(rows) * pixel == pytest.approx(12 + 2 * 4, abs=0.8)
    assert len(columns) * pixel == pytest.approx(26 + 2 * 4, abs=1.0)
    assert rows.mean() == pytest.approx(79.5, abs=1.5)


def test_the_whole_command_writes_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = hotspot_checks.planted_defects
    monkeypatch.setattr(
        hotspot_checks, "planted_defects", lambda slices, samples: small(slices, 7, 1, samples)
    )
    folds = json.loads(
        (hotspot_checks.bundle_path(hotspot_checks.BUNDLE) / "configs/folds.json").read_text()
    )["folds"]
    names = np.array([str(folds[0][0])] * 2)
    grades = np.full((2, len(TASKS)), MISSING, np.int16)
    grades[:, 0] = 3
    images = torch.rand(2, 1, 160, 320).half().numpy()
    crops = DiscCrops(images, grades, names, names, np.array(["T2"] * 2), np.arange(2), tuple(TASKS), {})
    out = tmp_path / "out"
    words = ["--crops_file", str(crops.save(tmp_path / "crops.npz")), "--out", str(out)]
    assert hotspot_checks.main([*words, "--folds", "0", "--discs", "1", "--samples", "2"]) == 0
    written = json.loads((out / "hotspot_checks.json").read_text())
    assert written["patients"] == "seen in training"
    assert written["crops"]["discs"] == 1
    assert [row["slices"] for row in written["planted"]] == [1, 5]
    assert set(written["crops"]["deletion"]) == {
        "hotspots",
        "GradCAM",
        "SmoothGrad",
        "the middle",
        "random",
    }
    table = (out / "table.md").read_text()
    assert "| planted defects |" in table
    assert f"{written['crops']['randomized_weights']['all']:.2f}" in table
    assert (out / "planted.png").stat().st_size > 1000

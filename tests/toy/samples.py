"""For each bundle, data small enough for two training steps and one inference, and what overrides do it.

A new bundle adds a function here; the contract test fails without one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from toy.abdomen import write_scans
from toy.kidney_ct import kidney_ct, kidney_mr
from toy.training import make_data

from siamed.pipeline.datasets.spider import GRADING_COLUMNS

__all__ = ["SAMPLES", "Sample"]


@dataclass(frozen=True)
class Sample:
    """Overrides of ``train.yaml`` and ``inference.yaml``, each with ``dataset_dir``."""

    train: dict[str, Any] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)


def toy_bundle(folder: Path) -> Sample:
    """The toy's own data."""
    data = {"dataset_dir": str(make_data(folder))}
    return Sample({**data, "hparams#max_epochs": 1}, data)


def block_spine(slices: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Image and label ``(D, H, W)`` in LIP at 4 x 1 x 1 mm: five blocks 28 mm high, discs and a canal."""
    label = np.zeros((slices, 200, 120), np.uint8)
    label[1:-1, 4:196, 78:90] = 3
    for k in range(5):
        top = 8 + 37 * k
        label[1:-1, top : top + 28, 40:74] = 1
        label[1:-1, top + 9 : top + 19, 94:108] = 1
        label[1:-1, top + 29 : top + 36, 40:74] = 2
    values = np.array([40.0, 120.0, 160.0, 220.0])
    image = values[label] + np.random.default_rng(0).normal(0, 8, label.shape)
    return image.clip(0).astype(np.float32), label


def spine_mr_vertebra_detection(folder: Path) -> Sample:
    """Block spines of two subjects of the split, in the folder format the training reads."""
    affine = np.array([[-4.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
    scans = folder / "scans"
    columns = ["Patient", "IVD label", *GRADING_COLUMNS.values()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "radiological_gradings.csv").write_text(",".join(columns) + "\n", encoding="utf-8")
    for subject in (5, 7):
        image, label = block_spine()
        for place in (folder / "space_half", scans):
            place.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(image, affine), place / f"{subject:03d}_T2_SPACE_image.nii.gz")
        nib.save(
            nib.Nifti1Image(label, affine), folder / "space_half" / f"{subject:03d}_T2_SPACE_label.nii.gz"
        )
    small = {
        "folders": ["space_half"],
        "fold": 0,
        "hparams#max_epochs": 1,
        "hparams#slices_per_epoch": 4,
        "hparams#batch_size": 2,
        "hparams#view_size": [96, 96],
        "hparams#watch_view_size": [208, 128],
        "hparams#watch_every_slice": 2,
    }
    return Sample({"dataset_dir": str(folder), **small}, {"dataset_dir": str(scans)})


def spine_mr_disc_grading(folder: Path) -> Sample:
    """Noise as crops of two subjects a fold, graded at random, and two disc volumes as files."""
    from siamed.pipeline.grading.crops import DiscCrops
    from siamed.pipeline.grading.tasks import TASKS

    rng = np.random.default_rng(0)
    subjects = np.repeat(["1", "6", "4", "13"], 3)  # of the folds 0 and 1
    crops = DiscCrops(
        images=rng.random((12, 1, 160, 320)).astype(np.float16),
        grades=np.stack([rng.choice(grades, 12) for grades in TASKS.values()], axis=1),
        subjects=subjects,
        cases=np.array([f"{subject}_t2" for subject in subjects]),
        sequences=np.array(["T2"] * 12),
        discs=np.tile([1, 2, 3], 4),
        tasks=tuple(TASKS),
        info={},
    )
    crops.save(folder / "crops.npz")
    volumes = folder / "volumes"
    volumes.mkdir()
    for number in range(2):
        image = nib.Nifti1Image(rng.random((9, 112, 224)).astype(np.float32), np.eye(4))
        nib.save(image, volumes / f"disc_{number}.nii.gz")
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#batch_size": 2}
    return Sample({"crops_file": str(folder / "crops.npz"), **small}, {"dataset_dir": str(volumes)})


def spine_mr_siamese_pretraining(folder: Path) -> Sample:
    """Noise as volumes of two subjects a fold, each with a T1 and a T2 scan of four levels."""
    from siamed.pipeline.pairs.volumes import VolumeTable

    rng, rows = np.random.default_rng(0), []
    for subject in ("1", "6", "4", "13"):  # of the folds 0 and 1
        for sequence in ("T1", "T2"):
            for level in ("L3", "L4", "L5", "S1"):
                path = f"volumes/{subject}_{sequence}/{level}.nii.gz"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                nib.save(
                    nib.Nifti1Image(rng.random((1, 272, 320)).astype(np.float32), np.eye(4)), folder / path
                )
                rows.append((subject, "", f"{subject}_{sequence}", "", sequence, level, path, ""))
    VolumeTable.from_rows(folder, rows).write()
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#batch_size": 4, "hparams#pairs_per_epoch": 8}
    small["val_interval"] = 1
    return Sample({"dataset_dir": str(folder), **small}, {"dataset_dir": str(folder / "volumes" / "1_T1")})


def _sides(folder: Path, subjects: Sequence[str]) -> Sample:
    """Noise as both kidneys of some subjects, a scan each."""
    from siamed.pipeline.pairs.volumes import KIDNEYS, VolumeTable

    rng, rows = np.random.default_rng(0), []
    for subject in subjects:
        for level in KIDNEYS:
            path = f"volumes/{subject}/{level.replace(' ', '_')}.nii.gz"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            volume = rng.normal(size=(48, 32, 32)).astype(np.float32)
            nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / path)
            rows.append((subject, "", subject, "", "", level, path, ""))
    VolumeTable.from_rows(folder, rows).write()
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#batch_size": 2, "hparams#pairs_per_epoch": 4}
    small["hparams#watched_pairs"] = 16
    inference = {"dataset_dir": str(folder / "volumes" / subjects[0])}
    return Sample({"dataset_dir": str(folder), **small}, inference)


def kidney_ct_siamese_pretraining(folder: Path) -> Sample:
    """Of fold 0 and of another."""
    return _sides(folder, ("case_00005", "case_00015", "case_00000", "case_00001"))


def kidney_mr_siamese_pretraining(folder: Path) -> Sample:
    """Of fold 0 and of another."""
    return _sides(folder, ("01", "31", "05", "19"))


def kidney_ct_segmentation(folder: Path) -> Sample:
    """Maps of blocks of three patients of the split, and a scan of blocks as a file."""
    from siamed.pipeline.synthesis.prepare import MapRow, write_maps
    from siamed.transforms.tissues import tissue_number

    rows = []
    for subject in ("case_00005", "case_00015", "case_00001"):  # two of fold 0, one of another
        tissues = np.full((32, 40, 48), tissue_number("visceral fat"), np.uint8)
        tissues[8:24, 20:32, 6:16] = tissues[6:20, 20:32, 32:42] = tissue_number("renal cortex")
        rows.append(MapRow.save(folder, f"{subject}_0", subject, "kits19", tissues, 4.0))
    write_maps(folder, rows)
    image, affine, _ = kidney_ct()
    (folder / "scans").mkdir()
    nib.save(nib.Nifti1Image(image, affine), folder / "scans" / "a.nii.gz")
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#crops_per_epoch": 2, "watch_every": 1}
    small["hparams#crop"] = [16, 32, 32]
    return Sample({"dataset_dir": str(folder), **small}, {"dataset_dir": str(folder / "scans")})


def abdomen_mr_ssl_pretraining(folder: Path) -> Sample:
    """Four scans, one of which is watched."""
    scans = write_scans(folder / "scans", ("a", "b", "c", "d"))
    small = {"hparams#max_epochs": 1, "hparams#items_per_epoch": 4, "hparams#batch_size": 2}
    small |= {"hparams#crop": [3, 32, 32], "hparams#watched_items": 4}
    return Sample({"dataset_dir": str(scans), **small}, {"dataset_dir": str(scans), "draws": 2})


def abdomen_mr_liver_segmentation(folder: Path) -> Sample:
    """Of fold 0 and of another; a scan alone."""
    scans = write_scans(folder / "scans", ("01", "31", "05"))
    alone = folder / "alone"
    alone.mkdir()
    shutil.copy(scans / "01_image.nii.gz", alone)
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#slabs_per_epoch": 4, "hparams#crop": [4, 32, 32]}
    small |= {"hparams#batch_size": 2}  # two steps
    return Sample({"dataset_dir": str(scans), **small}, {"dataset_dir": str(alone)})


def kidney_mr_segmentation(folder: Path) -> Sample:
    """Scans of blocks of three patients of the split with CHAOS's labels, and two as files."""
    image, affine, truth = kidney_mr()
    labels = truth + (truth > 0)  # 2 right, 3 left
    labels[:10], labels[-10:] = 1, 4  # liver and spleen
    (folder / "scans").mkdir(parents=True)
    for subject in ("01", "31", "05"):  # two of fold 0, one of another
        nib.save(nib.Nifti1Image(image, affine), folder / f"{subject}_image.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / f"{subject}_label.nii.gz")
    for name in "ab":
        nib.save(nib.Nifti1Image(image, affine), folder / "scans" / f"{name}.nii.gz")
    small = {"fold": 0, "hparams#max_epochs": 1, "hparams#crops_per_epoch": 2, "hparams#crop": [16, 32, 32]}
    small["hparams#crop_to_turn"] = [16, 48, 48]
    return Sample({"dataset_dir": str(folder), **small}, {"dataset_dir": str(folder / "scans")})


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "toy_bundle": toy_bundle,
    "abdomen_mr_liver_segmentation": abdomen_mr_liver_segmentation,
    "abdomen_mr_ssl_pretraining": abdomen_mr_ssl_pretraining,
    "kidney_ct_segmentation": kidney_ct_segmentation,
    "kidney_ct_siamese_pretraining": kidney_ct_siamese_pretraining,
    "kidney_mr_segmentation": kidney_mr_segmentation,
    "kidney_mr_siamese_pretraining": kidney_mr_siamese_pretraining,
    "spine_mr_disc_grading": spine_mr_disc_grading,
    "spine_mr_siamese_pretraining": spine_mr_siamese_pretraining,
    "spine_mr_vertebra_detection": spine_mr_vertebra_detection,
}

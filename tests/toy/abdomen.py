"""The shipped pretraining and segmentation of abdomens on six small bodies: a training takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml

from siamed.pipeline.experiments.files import write_json

SUBJECTS = ("a", "b", "c", "d", "e", "f")
DRAW = {"training": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f"]}


def write_scans(folder: Path, subjects: Sequence[str] = SUBJECTS) -> Path:
    """Bodies with a bright organ on the right, image and label map of each subject."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for subject in subjects:
        label = np.zeros((32, 32, 12), np.uint8)
        label[18:28, 8:22, 3:9] = 1
        image = 100.0 + 80.0 * label + rng.normal(0, 5, label.shape)
        image[:2] = image[-2:] = 0.0
        for name, array in (("image", image.astype(np.float32)), ("label", label)):
            scan = nibabel.Nifti1Image(array, np.diag([6.0, 6.0, 7.7, 1.0]))
            nibabel.save(scan, folder / f"{subject}_{name}.nii.gz")
    return folder


def write_leaderboard(folder: Path, **changes: Any) -> Path:
    """A leaderboard of one draw, one budget and one seed, with all that it needs beside it."""
    scans = write_scans(folder / "scans")
    write_json(folder / "draws.json", {"draws": [DRAW]})
    small = {"features": [4, 8], "group_size": 4, "divisor": [1, 2, 2], "max_epochs": 1, "batch_size": 2}
    common = {"dataset_dir": str(scans), "bfloat16": False, "val_interval": 1}
    content = {
        "name": "tiny",
        "bundle": "abdomen_mr_liver_segmentation",
        "pretraining": "abdomen_mr_ssl_pretraining",
        "pretexts": ["local_contrastive"],
        "split": "draws.json",
        "budgets": [2],
        "options": {**common, "hparams": {**small, "crop": [2, 32, 32], "slabs_per_epoch": 4}},
        "pretraining_options": {
            **common,
            "hparams": {**small, "crop": [3, 32, 32], "items_per_epoch": 8, "watched_items": 4},
        },
        "scorer": {
            "_target_": "siamed.pipeline.segmentation.label_scores.DiceScorer",
            "dataset_dir": str(scans),
            "labels": [1],
            "structure": "organ",
        },
    } | changes
    path = folder / "leaderboard.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path

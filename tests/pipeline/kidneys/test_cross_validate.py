"""Pairs of the side proxy by hand, and the whole command on volumes of noise with one bright side."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.kidneys.cross_validate import compare_sides, main, summarize
from siamed.pipeline.pairs.volumes import KIDNEYS, VolumeTable


def test_every_kidney_meets_those_of_other_patients_once() -> None:
    embeddings = np.array([[0.0, 0], [1, 0], [0, 0.25], [0.75, 0]])
    levels = np.array([*KIDNEYS, *KIDNEYS])
    found = compare_sides(embeddings, levels, np.array(["a", "a", "b", "b"]))
    assert found.same.tolist() == [True, False, False, True]
    assert found.distance == pytest.approx([0.25, 0.75, np.hypot(1, 0.25), 0.25])
    summary = summarize([(found, 0.5), (found, 0.2)], draws=20)
    assert summary["auc"] == 1.0
    assert summary["accuracy_folds"] == [1.0, 0.5]
    assert summary["accuracy"] == 0.75
    assert (summary["patients"], summary["same"], summary["different"]) == (2, 4, 4)


@pytest.mark.slow
def test_one_fold_from_the_command_line(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for subject in ("01", "31", "05", "19"):  # of folds 0 and 1
        for side, level in enumerate(KIDNEYS):
            path = f"volumes/{subject}/{side}.nii.gz"
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            volume = (rng.normal(0, 0.3, (16, 16, 16)) + side).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / path)
            rows.append((subject, "", subject, "", "", level, path, ""))
    VolumeTable.from_rows(tmp_path, rows).write()
    small = {"region": "[16,16,16]", "max_epochs": "1", "pairs_per_epoch": "4", "batch_size": "2"}
    words = ["--bundle", "kidney_mr_siamese_pretraining", "--dataset_dir", str(tmp_path), "--folds", "0"]
    words += [word for name, value in small.items() for word in (f"--hparams#{name}", value)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["same"], summary["different"]) == (2, 2)
    assert 0 <= summary["auc"] <= 1
    assert (tmp_path / "out" / "distances.png").stat().st_size > 1000

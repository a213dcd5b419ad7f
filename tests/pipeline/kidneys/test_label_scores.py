"""Sums of Dice for each subject, both kidneys and side by side."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from toy.kidney_ct import Oracle, kidney_ct

from siamed.pipeline.kidneys.label_scores import KidneyScorer
from siamed.pipeline.segmentation import label_scores


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three scans: one as it is, one whose left kidney is not seen, one of nobody asked for."""
    monkeypatch.setattr(label_scores, "Segmenter", Oracle)
    monkeypatch.setattr(label_scores, "run_network", lambda run: (None, {}))
    for name, left in (("a", True), ("b", False), ("c", True)):
        image, affine, _ = kidney_ct("LPS", left=left)
        _, _, truth = kidney_ct("LPS")
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / f"{name}_image.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth + 4, affine), tmp_path / f"{name}_label.nii.gz")
    return tmp_path


def test_a_missing_kidney_counts_on_its_side(dataset: Path) -> None:
    found = KidneyScorer(dataset, [5, 6]).statistics(Path("run"), ["a", "b"])
    assert {name: sums.tolist() for name, sums in found.items()} == {
        "a": [[2, 2], [1, 1], [1, 1]],
        "b": [[1, 2], [1, 1], [0, 1]],
    }


def test_the_figure_is_the_mean_over_kidneys() -> None:
    scorer = KidneyScorer("scans", [1])
    sums = np.array([[[1.5, 2], [1.0, 1], [0.5, 1]], [[3.0, 4], [1.0, 2], [2.0, 2]]])
    assert scorer.figure(sums).tolist() == [[0.75, 1.0, 0.5], [0.75, 0.5, 1.0]]
    assert len(scorer.parts) == sums.shape[1]

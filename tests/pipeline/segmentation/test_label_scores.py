"""Sums of Dice for each subject, on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from toy.kidney_ct import Oracle, kidney_ct

from siamed.pipeline.segmentation import label_scores
from siamed.pipeline.segmentation.label_scores import DiceScorer


def test_scans_of_a_subject_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_scores, "Segmenter", Oracle)
    monkeypatch.setattr(label_scores, "run_network", lambda run: (None, {}))
    # The second scan shows no left kidney, and the oracle finds none there.
    for name, left in (("a", True), ("b", False), ("c", True)):
        image, affine, _ = kidney_ct("IPL", left=left)
        _, _, truth = kidney_ct("IPL")
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / f"{name}_image.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth + 4, affine), tmp_path / f"{name}_label.nii.gz")
    (tmp_path / "subjects.csv").write_text("case_id,subject_id\na,p\nb,p\nc,q\n", encoding="utf-8")
    scorer = DiceScorer(tmp_path, [5, 6], "kidneys")
    found = scorer.statistics(Path("run"), ["p"])
    right, left = np.count_nonzero(truth == 1), np.count_nonzero(truth == 2)
    assert list(found) == ["p"]
    np.testing.assert_allclose(found["p"], [[1 + 2 * right / (2 * right + left), 2]])
    assert scorer.parts == ("kidneys",)
    assert scorer.figure(np.array([[1.5, 2], [3, 4]])).tolist() == [0.75, 0.75]

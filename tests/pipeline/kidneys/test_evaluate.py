"""Kidney by kidney: what is right, moved, missing; by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from toy.kidney_ct import LEFT_ML, Oracle, kidney_ct

from siamed.pipeline.kidneys import evaluate
from siamed.pipeline.kidneys.evaluate import main, score_case, summarize
from siamed.pipeline.segmentation.labelled_cases import LabelledCase


def case(subject: str = "p", moved: int = 0, **which: bool) -> LabelledCase:
    image, affine, _ = kidney_ct("LPS", **which)
    _, _, truth = kidney_ct("LPS")
    seen = MetaTensor(torch.from_numpy(image.copy())[None], affine=torch.from_numpy(affine))
    return LabelledCase(subject, subject, "scan", seen, np.roll(truth > 0, moved, axis=0))


def test_what_is_right_is_right_in_every_measure() -> None:
    rows = score_case(case(), Oracle())
    assert [row["side"] for row in rows] == ["right", "left"]
    for row in rows:
        assert (row["dice"], row["surface_dice"]) == (1.0, 1.0)
        assert (row["hausdorff_mm"], row["hausdorff95_mm"]) == (0.0, 0.0)
        assert (row["boundary_difference_percent"], row["volume_error_ml"]) == (0.0, 0.0)


def test_two_voxels_aside_are_six_millimeters() -> None:
    right, left = score_case(case(moved=2), Oracle())
    assert right["dice"] == pytest.approx((14 - 2) / 14)
    assert left["dice"] == pytest.approx((16 - 2) / 16)
    assert right["hausdorff_mm"] == pytest.approx(6.0)
    assert right["volume_error_ml"] == pytest.approx(0.0)


def test_a_kidney_that_was_not_found_counts_and_has_no_distance() -> None:
    right, left = score_case(case(left=False), Oracle())
    assert right["dice"] == 1.0
    assert left["dice"] == 0.0
    assert math.isinf(left["hausdorff_mm"])
    assert left["volume_error_ml"] == pytest.approx(-LEFT_ML)
    found = summarize([right, left])
    assert found["dice"]["mean"] == pytest.approx(0.5)
    assert found["hausdorff_mm"] == {"mean": 0.0, "not_finite": 1}
    assert (found["patients"], found["kidneys"]) == (1, 2)


def test_intervals_are_over_patients() -> None:
    rows = [
        {**row, "dice": value}
        for value, s in ((1.0, "a"), (0.5, "b"))
        for row in score_case(case(s), Oracle())
    ]
    found = summarize(rows)
    assert found["dice"]["mean"] == pytest.approx(0.75)
    assert found["dice"]["interval"] == pytest.approx([0.5, 1.0])  # both kidneys of a patient go together
    assert (found["dice_right"], found["dice_left"]) == pytest.approx((0.75, 0.75))


def test_one_scan_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "Segmenter", Oracle)
    image, affine, truth = kidney_ct()
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(truth + (truth > 0), affine), tmp_path / "map.nii.gz")
    words = ["--weights", "kidney_ct_segmentation", "--image", str(tmp_path / "ct.nii.gz")]
    words += [
        "--label",
        str(tmp_path / "map.nii.gz"),
        "--labels",
        "2",
        "3",
        "--out",
        str(tmp_path / "out.json"),
    ]
    assert main(words) == 0
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content["summary"]["scan"]["dice"]["mean"] == 1.0
    with pytest.raises(SystemExit):
        main(words[:4] + words[-2:])

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

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import sha256_of, write_json
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


SPLIT = bundle_path("kidney_mr_segmentation") / "configs" / "folds.json"


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans of four patients, two of fold 0, the left kidney of one not to be seen, and a training of each of
    two folds."""
    monkeypatch.setattr(evaluate, "Segmenter", Oracle)
    monkeypatch.setattr(evaluate, "run_network", lambda run: (None, {}))
    for name in ("01", "31", "05", "08"):
        image, affine, _ = kidney_ct("LPS", left=name != "31")
        _, _, truth = kidney_ct("LPS")
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / f"{name}_image.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, affine), tmp_path / f"{name}_label.nii.gz")
    for fold in (0, 1):
        record = {
            "name": f"kidney_mr_segmentation_20300101T000000Z_{fold}",
            "status": "FINISHED",
            "config": {"name": "kidney_mr_segmentation", "fold": fold},
            "data": {"split": {"sha256": sha256_of(SPLIT)}},
        }
        write_json(tmp_path / f"run_{fold}" / "run.json", record)
    return tmp_path


def words(folds: Path, runs: list[int], numbers: list[int]) -> list[str]:
    given = ["--weights", *(str(folds / f"run_{run}") for run in runs), "--dataset_dir", str(folds)]
    given += ["--out", str(folds / "out.json")]
    return given + (["--fold", *map(str, numbers)] if numbers else [])


@pytest.mark.parametrize(
    ("runs", "numbers", "scored"),
    [([0], [0], 2), ([0, 1], [0, 1], 3), ([1], [], 4)],
    ids=["one fold", "two folds pooled", "all scans"],
)
def test_trainings_are_scored_on_the_patients_that_they_left_out(
    folds: Path, runs: list[int], numbers: list[int], scored: int
) -> None:
    assert main(words(folds, runs, numbers)) == 0
    content = json.loads((folds / "out.json").read_text(encoding="utf-8"))
    patients = {row["subject_id"] for row in content["kidneys"]}
    assert patients == set(["01", "31", "05", "08"][:scored])
    found = content["summary"]["scan"]
    assert (found["patients"], found["kidneys"]) == (scored, 2 * scored)
    assert found["dice"]["mean"] == pytest.approx(1 - 1 / (2 * scored))


def test_a_training_that_has_seen_the_patients_is_refused(
    folds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"weights must have left out fold 1 .*run_0 left out fold 0"):
        main(words(folds, [0], [1]))
    other = write_json(folds / "other.json", {"folds": [["01"], ["31"]]})
    with pytest.raises(ValueError, match="left out fold 0 of another split"):
        main([*words(folds, [0], [0]), "--split", str(other)])
    for runs, numbers in (([0, 1], [0]), ([0, 1], [])):
        with pytest.raises(SystemExit):
            main(words(folds, runs, numbers))
        assert "each with the fold it left out" in capsys.readouterr().err


def test_no_scan_of_the_fold_is_said(folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("01", "31"):
        (folds / f"{name}_label.nii.gz").unlink()
    with pytest.raises(SystemExit):
        main(words(folds, [0], [0]))
    assert "there must be a kidney to score" in capsys.readouterr().err

"""Sums of Dice for each subject, both kidneys and side by side."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from toy.kidney_ct import Oracle, kidney_ct

from siamed.pipeline.kidneys.label_scores import KidneyScorer, MapScorer
from siamed.pipeline.segmentation import label_scores
from siamed.pipeline.synthesis.prepare import MapRow, write_maps
from siamed.transforms.tissues import tissue_number


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


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Two bodies drawn around the kidneys of one patient, two of another, one of an MR scan."""
    tissues = np.full((16, 20, 30), tissue_number("muscle"), np.uint8)
    for start in (3, 21):
        tissues[4:12, 8:14, start : start + 6] = tissue_number("renal cortex")
    whose = [("a", "kits19"), ("a", "kits19"), ("b", "kits19"), ("b", "kits19"), ("c", "chaos")]
    rows = [MapRow.save(tmp_path, f"{s}{i}", s, origin, tissues, 3.0) for i, (s, origin) in enumerate(whose)]
    write_maps(tmp_path, rows)
    return tmp_path


def test_kidneys_of_maps_are_scored_by_what_the_maps_were_made_from(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_scores, "Segmenter", lambda *_: blind)
    monkeypatch.setattr(label_scores, "run_network", lambda run: (None, {}))
    scorer = MapScorer(maps, every=2)
    assert scorer.parts == ("kidneys of all maps", "in drawn bodies", "in bodies of MR scans")
    found = scorer.statistics(Path("run"), ["b", "c"])
    assert {name: sums.tolist() for name, sums in found.items()} == {
        "b": [[0, 2], [0, 2], [0, 0]],  # two kidneys of one map: every second one is scored
        "c": [[0, 2], [0, 0], [0, 2]],
    }
    assert scorer.figure(found["b"]).tolist()[:2] == [0, 0]
    assert np.isnan(scorer.figure(found["b"])[2])


def test_every_training_is_shown_the_same_renderings(maps: Path) -> None:
    scorer = MapScorer(maps)
    first, again = ([case.image for case in scorer.cases(["a", "c"])] for _ in range(2))
    assert len(first) == 3
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    with pytest.raises(ValueError, match="every must be 1 or more, got 0"):
        MapScorer(maps, every=0)


def blind(image: torch.Tensor) -> np.ndarray:
    """A segmenter that finds nothing."""
    return np.zeros(image.shape[1:], np.float32)

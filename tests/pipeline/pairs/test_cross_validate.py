"""Figures of a cross-validation from known distances, and the controls that stand beside them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.pairs.controls import TRACES, TracesOfAcquisition, acquisition_features
from siamed.pipeline.pairs.cross_validate import FoldPairs, read_scanners, summarize
from siamed.pipeline.pairs.sampling import PairSampler
from siamed.pipeline.pairs.volumes import VolumeTable


def fold(persons: str, seed: int, noise: float) -> FoldPairs:
    """Each person a point in space, seen twice with noise, at four levels; traces know nothing."""
    rng = np.random.default_rng(seed)
    levels, people = np.tile([1, 2, 3, 6], len(persons)), np.repeat(list(persons), 4)
    places = np.repeat(rng.normal(size=(len(persons), 3)), 4, axis=0)
    first, second = (places + rng.normal(scale=noise, size=places.shape) for _ in range(2))
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    predicted = np.stack([levels, np.where(levels == 3, 2, levels)], 1)  # every second L3 is taken for L2
    return FoldPairs(distances, levels, people, predicted, {"all": rng.random(distances.shape)}, 3.0)


def test_figures_of_known_distances() -> None:
    summary = summarize([fold("abcdef", 0, 0.0), fold("ghijkl", 1, 0.0)], draws=50)
    assert summary["patients"] == 12
    assert summary["same_person"]["auc"] == 1.0
    assert summary["same_person"]["folds"] == [1.0, 1.0]
    # Six persons a fold at four levels; a comparison stays within its fold.
    assert summary["same_person"]["same"] == 2 * 6 * 4
    assert summary["same_person"]["different"] == 2 * 6 * 5 * 4
    assert summary["column"]["different"] == 2 * 6 * 5
    assert summary["level_accuracy"] == pytest.approx(7 / 8)
    assert summary["level_within_one"] == 1.0
    assert summary["level_accuracy_by_level"] == {"L1": 1.0, "L2": 1.0, "L3": 0.5, "S1": 1.0}
    low, high = summary["traces_of_acquisition"]["all"]["same_person"]["interval_95_over_patients"]
    assert low < 0.5 < high


def test_a_column_knows_more_than_a_body_and_the_interval_holds_the_figure() -> None:
    summary = summarize([fold("abcdefgh", seed, 1.0) for seed in range(3)], draws=50)
    body, column = summary["same_person"], summary["column"]
    assert body["auc"] < column["auc"] < 1.0
    for figure in (body, column):
        low, high = figure["interval_95_over_patients"]
        assert low < figure["auc"] < high


def test_within_one_scanner_model_others_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").write_text(
        "patient_id,model\na,Ingenia\nb,Ingenia\nc,Achieva\nd,\ne,\n", encoding="utf-8"
    )
    summary = summarize([fold("abcde", 0, 0.5)], read_scanners(tmp_path / "scans.csv"), draws=50)
    within = summary["within_one_scanner_model"]["same_person"]
    # a, b and c with themselves, a with b and b with a; of d and e nothing is known.
    assert (within["same"], within["different"]) == (3 * 4, 2 * 4)
    (tmp_path / "other.csv").write_text("patient,model\na,x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="columns patient_id and model"):
        read_scanners(tmp_path / "other.csv")


@pytest.fixture
def table(tmp_path: Path) -> VolumeTable:
    """Sixteen persons whose two scans share a pixel size of their own; intensities are noise."""
    rng, rows = np.random.default_rng(0), []
    for person in range(16):
        for sequence in ("T1", "T2"):
            affine = np.diag([4.0, 0.3 + 0.02 * person, 0.3 + 0.02 * person, 1.0])
            volume = rng.random((1, 24, 40)).astype(np.float32) + 0.01
            volume[:, :, :4] = 0
            path = f"{person}_{sequence}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / path)
            rows.append((str(person), "", path, "", sequence, "L3", path, ""))
    return VolumeTable.from_rows(tmp_path, rows)


def test_features_are_those_of_the_acquisition(table: VolumeTable) -> None:
    features = acquisition_features(table)
    assert features.shape == (32, TRACES["all"].stop)
    np.testing.assert_allclose(features[2, :3], [4.0, 0.32, 0.32], rtol=1e-5)
    np.testing.assert_allclose(features[:, 3:5], np.tile([0.0, 1.0], (32, 1)), atol=1e-6)
    np.testing.assert_allclose(
        features[0, 5:10], [0.1, 0.1, 0.5, 0.0, 0.1]
    )  # top, bottom, anterior, posterior, all


def test_traces_recognize_persons_by_geometry_alone(table: VolumeTable) -> None:
    features = acquisition_features(table)
    pairs = PairSampler(table).draw(4000, np.random.default_rng(0))
    judge = TracesOfAcquisition(features, table["sequence"], pairs)
    first, second = np.arange(0, 32, 2), np.arange(1, 32, 2)
    distances = judge.distances(features, table["sequence"], first)[:, second]
    ranks = (distances < np.diag(distances)[:, None]).sum(1)
    assert np.median(ranks) <= 1

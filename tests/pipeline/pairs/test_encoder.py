"""Embeddings of scans, their comparison, and probabilities that hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from siamed.networks.siamese_vgg_m import SiameseVGGM
from siamed.pipeline.pairs.calibration import Calibration, calibration_figures, fit_calibration
from siamed.pipeline.pairs.encoder import BodyEncoder, Embeddings, compare_embeddings
from siamed.pipeline.pairs.metrics import Compared

HPARAMS = {"slices": 1, "field_px": [64, 64], "input_size": [32, 32], "embedding": 6}
CALIBRATION = Calibration((4.0, -4.0), (6.0, -6.0), ("T1", "T2"))


def embeddings(levels: str, at: float, sequence: str = "T1", encoder: str = "x") -> Embeddings:
    names = np.array(levels.split(","))
    return Embeddings(names, np.full((len(names), 2), [at, 0.0], np.float32), sequence, encoder)


def test_an_encoder_embeds_the_middle_slice_and_each_body_by_itself() -> None:
    torch.manual_seed(0)
    network = SiameseVGGM(
        levels=7, slices=1, spatial_size=(32, 32), width=0.05, hidden=8, embedding=6, dropout=0.0,
        batch_norm=True, conv2_stride=1, pool5=False, volumetric=True, normalize=True,
    )  # fmt: skip
    encoder = BodyEncoder(network, HPARAMS, "x")
    volumes = torch.rand(70, 1, 9, 64, 64)
    found = encoder(volumes)
    assert found.shape == (70, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    changed = volumes.clone()
    changed[:, :, [0, 1, 2, 3, 5, 6, 7, 8]] = 0
    np.testing.assert_allclose(encoder(changed), found, atol=1e-5)
    np.testing.assert_allclose(encoder(volumes[66:67]), found[66:67], atol=1e-5)
    assert encoder(volumes[:0]).shape == (0, 6)


def test_the_levels_that_both_show_are_compared() -> None:
    found = compare_embeddings(
        embeddings("T12,L1,L2,L3,,L4", 0.0), embeddings("L4,L3,L2,L1,S1,", 1.0, "T2"), CALIBRATION
    )
    assert [row.level for row in found.levels] == ["L1", "L2", "L3", "L4"]
    assert all(row.distance == 1 and row.probability == 0.5 for row in found.levels)
    assert found.distance == 1
    assert found.probability == 0.5
    assert found.warnings == ()


def test_few_levels_and_other_sequences_are_warned_of() -> None:
    found = compare_embeddings(embeddings("L3,L4", 0.0), embeddings("L4", 1.0), CALIBRATION)
    assert found.probability is None
    assert "Only 1 levels in common" in found.warnings[0]
    assert "calibrated on T1 and T2 of one visit, these scans are T1 and T1" in found.warnings[1]


def test_scans_without_a_level_in_common_or_of_two_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="the first has L3 and the second none"):
        compare_embeddings(embeddings("L3", 0), embeddings(",", 0), CALIBRATION)
    with pytest.raises(ValueError, match="must be embedded by one encoder, got x and y"):
        compare_embeddings(embeddings("L3", 0), embeddings("L3", 0, encoder="y"), CALIBRATION)


def test_embeddings_come_back_as_they_were_written(tmp_path: Path) -> None:
    one = embeddings("L3,", 0.25)
    again = Embeddings.load(one.save(tmp_path / "embeddings.npz"))
    assert again.level.tolist() == ["L3", ""]
    np.testing.assert_array_equal(again.embedding, one.embedding)
    assert (again.sequence, again.encoder) == ("T1", "x")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="other.npz lacks"):
        Embeddings.load(tmp_path / "other.npz")


def drawn(rng: np.random.Generator, count: int, share: float) -> Compared:
    """Distances whose odds are exp(4 - 4 d) where both answers are as likely: normal, of one variance."""
    same = rng.random(count) < share
    distance = rng.normal(np.where(same, 0.5, 1.5), 0.5)
    names = np.arange(count).astype(str)
    return Compared(distance, same, names, names)


def test_the_fit_finds_the_odds_whatever_the_share_of_positives() -> None:
    rng = np.random.default_rng(0)
    folds = [drawn(rng, 20000, share) for share in (0.05, 0.1, 0.02)]
    calibration, figures = fit_calibration(folds, folds, ("T1", "T2"))
    # log N(d; 0.5, 0.5) - log N(d; 1.5, 0.5) = 4 - 4 d
    assert calibration.level == pytest.approx((4, -4), abs=0.25)
    assert figures["level"]["expected_calibration_error"] < 0.02
    assert figures["level"]["sensitivity_at_half"] == pytest.approx(0.841, abs=0.02)  # one sigma


def test_figures_of_a_calibration_by_hand() -> None:
    probability, same = np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, False])
    right = calibration_figures(probability, same)
    assert right["brier"] == pytest.approx(0.01)
    assert right["expected_calibration_error"] == pytest.approx(0.1)
    wrong = calibration_figures(1 - probability, same)
    assert wrong["brier"] == pytest.approx(0.81)
    assert (wrong["sensitivity_at_half"], wrong["specificity_at_half"]) == (0, 0)


def test_a_calibration_comes_back_and_another_file_is_refused(tmp_path: Path) -> None:
    path = CALIBRATION.write(tmp_path / "calibration.json", {"brier": 0.1})
    assert Calibration.read(path) == CALIBRATION
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="path must hold a calibration"):
        Calibration.read(path)


def test_the_shipped_bundle_can_compare() -> None:
    encoder = BodyEncoder.from_bundle("spine_mr_siamese_pretraining")
    assert encoder.calibration is not None
    near, far = (encoder.calibration.of_column(d) for d in (0.2, 1.4))
    assert near > 0.95 and far < 0.05

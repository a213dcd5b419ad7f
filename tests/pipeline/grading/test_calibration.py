"""Calibrated probabilities and sets of grades hold on discs like those they were fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.grading.calibration import (
    GradeCalibration,
    expected_calibration_error,
    fit_grade_calibration,
    reliability,
)
from siamed.pipeline.grading.tasks import given_classes


def graded(count: int, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True classes drawn from known probabilities, which are then made too sure by a temperature."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((count, 5))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (true.cumsum(1) > rng.random(count)[:, None]).argmax(1)
    sharp = np.exp(logits * temperature)
    return sharp / sharp.sum(1, keepdims=True), labels


def test_the_error_by_hand() -> None:
    shares = np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95], [0.1, 0.9]])
    truth = np.array([0, 1, 1, 1])
    np.testing.assert_allclose(reliability(shares, truth), [[0.75, 0.5, 0.5], [0.925, 1.0, 0.5]])
    assert expected_calibration_error(shares, truth) == pytest.approx(0.5 * 0.25 + 0.5 * 0.075)


def test_a_known_temperature_is_found_and_sets_hold_what_they_promise() -> None:
    folds = [graded(2000, 2.5, seed) for seed in range(4)]
    found, figures = fit_grade_calibration({"pfirrmann": folds})
    assert found.temperature["pfirrmann"] == pytest.approx(2.5, rel=0.1)
    own = figures["pfirrmann"]
    assert own["discs"] == 8000
    assert own["expected_calibration_error_before"] > 0.1
    assert own["expected_calibration_error"] < 0.02
    assert own["coverage"] == pytest.approx(0.9, abs=0.015)
    new_shares, new_labels = graded(4000, 2.5, 9)
    tempered = found.probabilities("pfirrmann", new_shares)
    given = given_classes("pfirrmann", new_shares).tolist()
    rows = zip(tempered, new_labels, given, strict=True)
    held = [label + 1 in found.likely("pfirrmann", p, own_grade) for p, label, own_grade in rows]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
    np.testing.assert_array_equal(tempered.argmax(1), new_shares.argmax(1))
    kept = [row["kept"] for row in own["referral"]]
    right = [row["accuracy"] for row in own["referral"]]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 1.0
    assert right == sorted(right)


def test_a_set_holds_the_grade_itself_and_counts_as_the_standard_does() -> None:
    calibration = GradeCalibration(0.9, {}, {"pfirrmann": 0.3, "modic": 0.99})
    assert calibration.likely("pfirrmann", np.array([0.05, 0.05, 0.4, 0.35, 0.15]), 2) == [3, 4]
    assert calibration.likely("modic", np.array([0.2, 0.5, 0.2, 0.1]), 1) == [1]
    # The median lies between two likely grades and is one of the set.
    assert calibration.likely("pfirrmann", np.array([0.0, 0.35, 0.25, 0.4, 0.0]), 2) == [2, 3, 4]
    shares = np.array([0.3, 0.7])
    np.testing.assert_allclose(calibration.probabilities("bulging", shares), shares)
    assert calibration.likely("bulging", shares, 1) == [0, 1]  # never fitted


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    calibration = GradeCalibration(0.9, {"pfirrmann": 1.5}, {"pfirrmann": 0.2}, {"pfirrmann": 0.7})
    assert GradeCalibration.read(calibration.write(tmp_path / "c.json", {})) == calibration
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="other.json does not"):
        GradeCalibration.read(tmp_path / "other.json")
    with pytest.raises(ValueError, match="at least two of pfirrmann, got 1"):
        fit_grade_calibration({"pfirrmann": [graded(10, 1.0, 0)]})

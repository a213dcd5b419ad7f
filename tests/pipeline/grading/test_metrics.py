"""Agreement of grades: figures by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from siamed.pipeline.grading.metrics import (
    GradeAgreement,
    balanced_accuracy,
    bootstrap_intervals,
    confusion,
    grade_metrics,
)
from siamed.pipeline.grading.tasks import MISSING, class_counts, class_indices
from siamed.pipeline.tasks import SPIDER


def test_figures_by_hand() -> None:
    figures = grade_metrics([1, 1, 2, 2, 2, 5], [1, 2, 2, 2, 4, 1])
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert figures["within_one"] == pytest.approx(4 / 6)
    assert figures["mean_absolute_error"] == pytest.approx((0 + 1 + 0 + 0 + 2 + 4) / 6)


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(1, 6, 300)
    given = np.clip(true + rng.integers(-2, 3, 300), 1, 5)
    figures = grade_metrics(true, given)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, given))
    assert figures["kappa"] == pytest.approx(cohen_kappa_score(true, given, weights="quadratic"))


def test_a_grade_that_never_occurs_does_not_count() -> None:
    assert balanced_accuracy(np.array([2, 2]), np.array([2, 5])) == 0.5


def test_kappa_of_a_single_grade_is_not_a_number() -> None:
    assert np.isnan(grade_metrics([3, 3], [3, 3])["kappa"])


def test_intervals_hold_the_estimate_and_widen_when_discs_belong_together() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(1, 6, 400)
    wrong = np.repeat(rng.random(40) < 0.4, 10)  # whole patients are graded wrong
    given = np.where(wrong, np.where(true > 1, true - 1, 2), true)
    alone = bootstrap_intervals(true, given, [str(i) for i in range(400)], draws=200)["balanced_accuracy"]
    patients = bootstrap_intervals(true, given, [str(i // 10) for i in range(400)], draws=200)
    together = patients["balanced_accuracy"]
    assert together[0] < balanced_accuracy(true, given) < together[1]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert patients["within_one"] == (1.0, 1.0)


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ValueError, match=r"alike and not empty, got shapes \(2,\) and \(1,\)"):
        grade_metrics([1, 2], [1])
    with pytest.raises(ValueError, match="alike and not empty"):
        grade_metrics([], [])


def test_confusion_counts_true_grades_in_rows() -> None:
    counts = confusion(np.array([0, 0, 3]), np.array([0, 2, 3]), "modic")
    assert counts.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_the_metric_of_a_training_skips_missing_labels_over_all_batches() -> None:
    metric = GradeAgreement(["bulging", "modic"], "modic", "balanced_accuracy")
    assert torch.isnan(metric.aggregate())
    scores = torch.zeros(4, 6)
    scores[:, 0] = 9.0  # of the other task
    scores[[0, 1, 2, 3], [2, 3, 3, 5]] = 1.0  # Modic 0, 1, 1, 3
    labels = torch.tensor([[0, 0], [1, 1], [1, 2], [0, MISSING]])
    metric(scores[:2], labels[:2])
    metric(scores[2:], labels[2:])
    assert float(metric.aggregate()) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="task must be one of"):
        GradeAgreement(["bulging"], "modic", "kappa")
    with pytest.raises(ValueError, match="metric must be one of"):
        GradeAgreement(["modic"], "modic", "accuracy")


def test_grades_become_class_indices_as_their_standards_count() -> None:
    tasks = ["pfirrmann", "modic", "bulging"]
    assert class_counts(tasks) == [5, 4, 2]
    assert class_indices({"pfirrmann": 1, "modic": 3}, tasks) == [0, 3, MISSING]
    assert sum(class_counts([task.name for task in SPIDER])) == 21
    with pytest.raises(ValueError, match=r"pfirrmann must be one of \(1, 2, 3, 4, 5\), got 0"):
        class_indices({"pfirrmann": 0}, tasks)
    with pytest.raises(ValueError, match="tasks must be some of"):
        class_counts(["stenosis"])

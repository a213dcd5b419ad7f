"""The scorer of a label-efficiency experiment: whose discs, which part of a crop, and the figure by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from torch import nn

from siamed.pipeline.grading import label_scores
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.label_scores import DiscScorer
from siamed.pipeline.grading.metrics import balanced_accuracy, confusion
from siamed.pipeline.grading.tasks import MISSING, TASKS

HPARAMS = {
    "tasks": ["pfirrmann"],
    "slices": 1,
    "field_px": [20, 40],
    "input_size": [20, 40],
    "views": [[1.0, 0.0, 0.0]],
}


class Brightness(nn.Module):
    """The grade is five times the mean brightness, 0.2 to 1."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        steps = torch.linspace(0.2, 1.0, 5)
        return -200 * (volume.flatten(1).mean(1, keepdim=True) - steps) ** 2


@pytest.fixture
def crops_file(tmp_path: Path) -> Path:
    """Persons a and b with four discs; what is around a disc is as bright as grade 5."""
    true, shown = [1, 2, 5, MISSING, 1, 1, 5, 5], [1, 3, 5, 4, 1, 2, 5, 5]
    images = np.ones((8, 3, 28, 60), np.float16)
    images[:, :, 4:24, 10:50] = 0.2 * np.array(shown)[:, None, None, None]
    grades = np.full((8, len(TASKS)), MISSING, np.int16)
    grades[:, 0] = true
    sequences = np.array(["T2"] * 7 + ["T1"])
    names = np.repeat(["a", "b"], 4)
    crops = DiscCrops(images, grades, names, names, sequences, np.arange(8), tuple(TASKS), {})
    return crops.save(tmp_path / "crops.npz")


def test_each_person_has_a_confusion_matrix_of_the_graded_discs_of_the_sequence(
    crops_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_scores, "run_network", lambda run: (Brightness(), HPARAMS))
    scorer = DiscScorer(crops_file, ["T2"])
    found = scorer.statistics(Path("run"), ["b", "a", "nobody"])
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["a"], [confusion([1, 2, 5], [1, 3, 5], "pfirrmann")])
    np.testing.assert_array_equal(found["b"], [confusion([1, 1, 5], [1, 2, 5], "pfirrmann")])
    assert scorer.statistics(Path("run"), ["nobody"]) == {}


def test_the_figure_is_the_mean_recall_of_the_grades_that_occur() -> None:
    scorer, rng = DiscScorer("crops.npz", ["T2"]), np.random.default_rng(0)
    # Grade 1 right in 2 of 3, grade 2 in 0 of 1, grade 5 in 2 of 2; 3 and 4 do not occur.
    by_hand = confusion([1, 1, 1, 2, 5, 5], [1, 1, 2, 3, 5, 5], "pfirrmann")
    assert scorer.figure(by_hand) == pytest.approx((2 / 3 + 0 + 1) / 3)
    true, said = rng.integers(1, 6, (2, 100))
    assert scorer.figure(confusion(true, said, "pfirrmann")) == pytest.approx(balanced_accuracy(true, said))
    assert scorer.figure(np.stack([by_hand, 2 * by_hand])).shape == (2,)


class TwoTasks(Brightness):
    """A second task beside it: 1 for all that is brighter than 0.5."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        bright = volume.flatten(1).mean(1, keepdim=True) - 0.5
        return torch.cat([super().forward(volume), -bright, bright], 1)


def test_tasks_are_parts_and_a_second_sequence_is_averaged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Discs 1 and 2 of a person: T2 shows grades 1 and 4, T1 shows the first as 5 and has no second.
    images = np.ones((3, 1, 28, 60), np.float16) * 0.2 * np.array([1, 4, 5])[:, None, None, None]
    grades = np.full((3, len(TASKS)), MISSING, np.int16)
    grades[:, 0], grades[:, list(TASKS).index("bulging")] = [3, 4, 3], [1, 0, 1]
    names = np.array(["a"] * 3)
    sequences, discs = np.array(["T2", "T2", "T1"]), np.array([1, 2, 1])
    crops = DiscCrops(images.astype(np.float16), grades, names, names, sequences, discs, tuple(TASKS), {})
    file = crops.save(tmp_path / "crops.npz")
    hparams = {**HPARAMS, "tasks": ["pfirrmann", "bulging"]}
    monkeypatch.setattr(label_scores, "run_network", lambda run: (TwoTasks(), hparams))
    scorer = DiscScorer(file, ["T2"], ["bulging", "pfirrmann"], beside="T1")
    assert scorer.parts == ("bulging", "pfirrmann", "bulging, T1 beside", "pfirrmann, T1 beside")
    found = scorer.statistics(Path("run"), ["a"])["a"]
    assert found.shape == (4, 5, 5)
    np.testing.assert_array_equal(found[0, :2, :2], confusion([1, 0], [0, 1], "bulging"))
    assert found[0].sum() == 2
    np.testing.assert_array_equal(found[1], confusion([3, 4], [1, 4], "pfirrmann"))
    # Averaged, T1 says 1 to the first (brightness 1 weighs more than 0.2); the second is graded by T2 alone.
    np.testing.assert_array_equal(found[2, :2, :2], confusion([1, 0], [1, 1], "bulging"))
    assert found[3, 3, 3] == 1
    np.testing.assert_allclose(scorer.figure(found), [0.0, 0.5, 0.5, 0.5])


def test_kappa_of_many_confusion_matrices_is_scikit_learns_of_each() -> None:
    rng = np.random.default_rng(0)
    scorer = DiscScorer("crops.npz", ["T2"], measure="quadratic kappa")
    pairs = rng.integers(1, 6, (3, 2, 60))
    pairs[:, 1, :30] = pairs[:, 0, :30]
    found = scorer.figure(np.stack([confusion(true, said, "pfirrmann") for true, said in pairs]))
    expected = [cohen_kappa_score(true, said, weights="quadratic") for true, said in pairs]
    np.testing.assert_allclose(found, expected)
    two = np.zeros((5, 5))  # a task of two classes beside one of five
    two[:2, :2] = [[8, 2], [3, 7]]
    assert scorer.figure(two) == pytest.approx(
        cohen_kappa_score([0] * 10 + [1] * 10, [0] * 8 + [1] * 2 + [0] * 3 + [1] * 7)
    )
    assert np.isnan(scorer.figure(np.diag([4.0, 0, 0, 0, 0])))


def test_wrong_arguments_are_named(crops_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="tasks must be some of .*, got \\['beauty'\\]"):
        DiscScorer("crops.npz", ["T2"], ["beauty"])
    with pytest.raises(ValueError, match="beside must be another sequence than \\['T2'\\], got 'T2'"):
        DiscScorer("crops.npz", ["T2"], beside="T2")
    with pytest.raises(ValueError, match="measure must be one of .*, got 'beauty'"):
        DiscScorer("crops.npz", ["T2"], measure="beauty")
    monkeypatch.setattr(label_scores, "run_network", lambda run: (Brightness(), HPARAMS))
    with pytest.raises(ValueError, match="tasks must be graded by every arm, run does not grade modic"):
        DiscScorer(crops_file, ["T2"], ["pfirrmann", "modic"]).statistics(Path("run"), ["a"])

"""Two cross-validations compared by patients: figures by hand, and what cannot be compared."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.grading import paired


def written(folder: Path, said: list[list[int]], truth: list[int], task: str = "bulging") -> Path:
    """A row of grades a seed; two discs a patient."""
    folder.mkdir(parents=True)
    with (folder / "predictions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["fold", "seed", "task", "subject_id", "case_id", "disc", "truth", "predicted"])
        for seed, grades in enumerate(said):
            for n, (true, given) in enumerate(zip(truth, grades, strict=True)):
                table.writerow([0, seed, task, f"p{n // 2}", f"c{n // 2}", n % 2, true, given])
    return folder


def test_the_difference_is_that_of_average_class_accuracies(tmp_path: Path) -> None:
    truth = [0, 1] * 10
    reference = written(tmp_path / "a", [[0] * 20, [0, 1] * 10], truth)
    other = written(tmp_path / "b", [[0, 1] * 10] * 2, truth)
    found = paired.compare(reference, other)["bulging"]["arms"]
    assert found["reference"]["budgets"][0]["mean"] == pytest.approx((0.5 + 1.0) / 2)
    row = found["other"]["budgets"][0]
    assert (row["mean"], row["difference"]) == (1.0, pytest.approx(0.25))
    assert row["p"] < 0.01
    some = paired.compare(reference, other, ["p0", "p1"])["bulging"]
    assert some["subjects_scored"] == 2
    assert some["arms"]["other"]["budgets"][0]["p"] > 0.1


def test_discs_seeds_and_labels_must_be_the_same(tmp_path: Path) -> None:
    truth = np.arange(4).tolist()
    one = written(tmp_path / "a", [truth], [0, 1, 1, 0])
    for place, (said, labels) in enumerate([([truth] * 2, [0, 1, 1, 0]), ([truth], [0, 1, 1, 1])]):
        other = written(tmp_path / str(place), said, labels)
        with pytest.raises(ValueError, match="other must have graded the same discs of bulging"):
            paired.compare(one, other)


def test_the_command_prints_a_row_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [0, 1] * 4
    one = written(tmp_path / "a", [[0] * 8], truth)
    assert paired.main(["--reference", str(one), "--other", str(one)]) == 0
    said = capsys.readouterr().out
    assert "1 seeds, 4 subjects." in said
    assert "| bulging | 0.500" in said
    assert "+0.000, p 1.000" in said
    with pytest.raises(SystemExit, match="No such file"):
        paired.main(["--reference", str(one), "--other", str(tmp_path / "b")])

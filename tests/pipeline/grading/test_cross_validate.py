"""The grader's cross-validation: what is scored, several ways to look, calibration, figures by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.grading import DiscGrader, cross_validate
from siamed.pipeline.grading.calibration import GradeCalibration
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.tasks import MISSING, TASKS


def grader() -> DiscGrader:
    torch.manual_seed(0)
    network = MultiTaskVGGM([5, 2], 1, (56, 112), 0.1, 8, 0.0, batch_norm=False, conv2_stride=1)
    return DiscGrader(network, ["pfirrmann", "bulging"], 1, (112, 224), (56, 112), dense=True)


def crops(count: int = 12) -> DiscCrops:
    rng = np.random.default_rng(0)
    grades = np.full((count, len(TASKS)), MISSING, np.int16)
    grades[:, 0] = rng.integers(1, 6, count)
    grades[:, list(TASKS).index("bulging")] = rng.integers(0, 2, count)
    grades[0, 0] = MISSING
    names = np.array([f"p{i // 2}" for i in range(count)])
    images = rng.random((count, 1, 160, 320)).astype(np.float16)
    return DiscCrops(
        images, grades, names, names, np.array(["T2"] * count), np.arange(count), tuple(TASKS), {}
    )


def test_every_look_grades_every_disc_and_all_but_one_see_the_margin() -> None:
    found = cross_validate.looks(grader(), crops())
    assert list(found) == ["shipped", "one", "nine"]
    for shares in found.values():
        assert [tuple(part.shape) for part in shares] == [(12, 5), (12, 2)]
    assert not torch.equal(found["shipped"][0], found["nine"][0])  # dense, and one by one
    other = crops()
    other.images[:, :, :24] = 0
    for name, shares in cross_validate.looks(grader(), other).items():
        changed = not torch.allclose(shares[0], found[name][0], atol=1e-7)
        assert changed == (name != "one")


def test_a_row_a_labelled_disc_and_task() -> None:
    own = crops()
    rows = cross_validate.score(grader(), own, cross_validate.looks(grader(), own)["one"], 3, 1)
    assert len(rows) == 11 + 12
    assert {row["task"] for row in rows} == {"pfirrmann", "bulging"}
    first = rows[0]
    assert (first["fold"], first["seed"], first["disc"], first["subject_id"]) == (3, 1, 1, "p0")
    assert first["truth"] == own.grades[1, 0]
    assert first["predicted"] == 1 + int(first["probabilities"].argmax())


def rows_of(seed: int, truth: list[int], said: list[int]) -> list[dict]:
    rows = []
    for n, (true, given) in enumerate(zip(truth, said, strict=True)):
        shares = np.full(5, 0.1)
        shares[given - 1] = 0.6
        rows.append(
            {
                "fold": n % 2,
                "seed": seed,
                "task": "pfirrmann",
                "subject_id": f"p{n}",
                "case_id": f"c{n}",
                "disc": 1,
                "truth": true,
                "predicted": given,
                "probabilities": shares,
            }
        )
    return rows


def test_what_is_written_says_each_seed_the_looks_and_the_unseen(tmp_path: Path) -> None:
    truth = [1, 1, 2, 2, 5, 5]
    rows = rows_of(0, truth, [1, 1, 2, 3, 5, 5]) + rows_of(1, truth, [1, 2, 2, 3, 5, 5])
    other = rows_of(0, truth, truth) + rows_of(1, truth, truth)
    cross_validate.write_results(tmp_path, rows, {"one": other}, crops(), {"p2", "p3"})
    summary = json.loads((tmp_path / "summary.json").read_text())
    mean = summary["all"]["pfirrmann"]["mean"]["balanced_accuracy"]
    assert mean == pytest.approx(((1 + 0.5 + 1) / 3 + (0.5 + 0.5 + 1) / 3) / 2)
    looks = summary["looks"]
    assert looks["one"]["all"]["pfirrmann"]["balanced_accuracy"] == 1.0
    assert looks["shipped"]["unseen"]["pfirrmann"]["balanced_accuracy"] == 0.5
    assert looks["shipped"]["looked at"]["pfirrmann"]["balanced_accuracy"] == pytest.approx((1 + 0.75) / 2)
    calibration = GradeCalibration.read(tmp_path / "calibration.json")
    assert set(calibration.temperature) == {"pfirrmann"}
    figures = json.loads((tmp_path / "calibration.json").read_text())["figures"]["pfirrmann"]
    assert figures["discs"] == 12
    assert (tmp_path / "reliability.png").is_file()
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 13

"""What is seen of an encoder between epochs: grades among the neighbors, the nearest negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.tasks import MISSING, TASKS
from siamed.pipeline.pairs.sampling import PairSampler
from siamed.pipeline.pairs.volumes import VolumeTable
from siamed.pipeline.pairs.watch import GradeProbe, HardNegatives, probe_accuracy

HPARAMS = {"slices": 1, "field_px": [20, 20], "input_size": [10, 10], "embedding": 1}


def evaluated(metrics: dict[str, float]) -> Engine:
    engine = Engine(lambda *_: None)
    engine.state.metrics = metrics
    return engine


def test_the_vote_of_the_nearest_by_hand() -> None:
    known = np.array([[1, 0.1], [1, 0.0], [0, 1.0], [0.1, 1]])
    grades = np.array([2, 2, 5, 5])
    new, truth = np.array([[5, 0.2], [0.0, 3], [3, 0.1]]), np.array([2, 5, 5])
    # Lengths do not count: the third points where grade 2 lies. Grade 2 right in 1 of 1, grade 5 in 1 of 2.
    assert probe_accuracy(known, grades, new, truth, neighbors=2) == pytest.approx(0.75)


class Brightness(nn.Module):
    """A trunk whose features tell how bright a crop is."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv3d(1, 2, 1)
        with torch.no_grad():
            self.trunk.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)
            self.trunk.bias[:] = torch.tensor([0.0, 1.0])


def crops_file(folder: Path) -> Path:
    """Four persons with five discs each, the brighter the worse; one grade is missing."""
    count = 20
    grades = np.full((count, len(TASKS)), MISSING, np.int16)
    grades[:, 0] = np.tile([1, 2, 3, 4, 5], 4)
    images = np.full((count, 3, 20, 40), 0.1, np.float16) * grades[:, :1, None, None]
    grades[7, 0] = MISSING
    names = np.repeat(list("abcd"), 5)
    crops = DiscCrops(
        images, grades, names, names, np.array(["T2"] * count), np.arange(count), tuple(TASKS), {}
    )
    (folder / "folds.json").write_text(json.dumps({"folds": [["a"], ["b", "c", "d"]]}), encoding="utf-8")
    return crops.save(folder / "crops.npz")


def test_the_probe_reads_the_trunk_on_patients_it_was_not_shown(tmp_path: Path) -> None:
    file, engine, network = crops_file(tmp_path), evaluated({}), Brightness().train()
    GradeProbe(network, file, tmp_path / "folds.json", 0, HPARAMS).attach(engine)
    engine.fire_event(Events.COMPLETED)
    right = engine.state.metrics["knn_pfirrmann"]
    assert right == 1.0
    assert network.trunk.training
    # Training in several processes wraps the network, which then is the wrapper's `module`.
    GradeProbe(nn.ModuleDict({"module": network}), file, tmp_path / "folds.json", 0, HPARAMS).attach(engine)
    engine.fire_event(Events.COMPLETED)
    assert engine.state.metrics["knn_pfirrmann"] == right
    with torch.no_grad():
        network.trunk.weight.zero_()  # now every disc looks alike
    engine.fire_event(Events.COMPLETED)
    assert engine.state.metrics["knn_pfirrmann"] == pytest.approx(0.2)


def test_without_crops_there_is_no_probe_and_without_grades_an_error(tmp_path: Path) -> None:
    engine = evaluated({})
    GradeProbe(Brightness(), None, tmp_path / "none.json", 0, HPARAMS).attach(engine)
    engine.fire_event(Events.COMPLETED)
    assert engine.state.metrics == {}
    with pytest.raises(ValueError, match="graded discs of the split's training part"):
        GradeProbe(Brightness(), crops_file(tmp_path), tmp_path / "folds.json", 0, HPARAMS, ["T1"])


class Mean(nn.Module):
    """Embeds a volume as its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        return self.scale * pair.mean((2, 3, 4))[..., None]


def test_the_nearest_of_several_persons_is_the_negative() -> None:
    rows = [(s, "", f"{s}{v}", "", "T2", "L3", "x", "") for s in "abcd" for v in "12"]
    table = VolumeTable.from_rows(".", rows)
    # a and b look alike, c and d look alike.
    brightness = torch.tensor([1.0, 1.0, 1.1, 1.1, 5.0, 5.0, 5.1, 5.1])
    volumes = brightness.view(8, 1, 1, 1).expand(8, 1, 20, 20).contiguous()
    near = {"a": "b", "b": "a", "c": "d", "d": "c"}

    def share_near(candidates: int) -> float:
        sampler, network = PairSampler(table, positive_share=0.0, candidates=candidates), Mean().train()
        trainer = Engine(lambda *_: None)
        HardNegatives(sampler, network, volumes, HPARAMS).attach(trainer)
        trainer.run([0], max_epochs=1)
        assert network.training
        assert sampler.has_learned == (candidates > 1)
        pairs = sampler.draw(3000, np.random.default_rng(0))
        names = table["subject_id"]
        return float(
            np.mean([near[names[i]] == names[j] for i, j in zip(pairs.first, pairs.second, strict=True)])
        )

    assert share_near(1) == pytest.approx(1 / 3, abs=0.04)
    # The twin in looks is among eight draws of three persons with a chance of 1 - (2/3)^8.
    assert share_near(8) == pytest.approx(1 - (2 / 3) ** 8, abs=0.02)


def test_an_interval_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        HardNegatives(None, Mean(), torch.zeros(1), HPARAMS, every=0)

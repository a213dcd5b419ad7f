"""Features that show a structure are told from features that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.nn import functional

from siamed.pipeline.pretexts.probe import StructureProbe, cells

HPARAMS: dict[str, Any] = {
    "spacing_mm": [8.0, 4.0, 4.0],
    "divisor": [1, 4, 4],
    "surroundings_mm": 25.0,
    "surroundings_floor": 0.02,
    "window_top": 3.0,
    "bright": [99.0, 1.0],
    "crop": [3, 16, 16],
    "in_channels": 3,
    "spatial_dims": 2,
}


class Trunk(nn.Module):
    """The middle slice at half resolution, or noise; the bottom is not looked at."""

    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.knows, self.weight = knows, nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        seen = functional.avg_pool2d(image[:, 1:2] * self.weight, 2)
        seen = seen if self.knows else torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
        return [image, seen, functional.avg_pool2d(seen, 2)]


class Net(nn.Module):
    def __init__(self, knows: bool) -> None:
        super().__init__()
        self.trunk = Trunk(knows)


@pytest.fixture
def scans(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for subject in ("a", "b", "c"):
        label = np.zeros((24, 24, 8), np.uint8)
        label[4:12, 8:16, 2:6] = 7
        image = 100 + 60 * (label > 0) + rng.normal(0, 5, label.shape)
        for name, array in (("image", image.astype(np.float32)), ("label", label)):
            file = nibabel.Nifti1Image(array, np.diag([4.0, 4.0, 8.0, 1.0]))
            nibabel.save(file, tmp_path / f"{subject}_{name}.nii.gz")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["a"], ["b"], ["c"]]}), encoding="utf-8")
    return {"dataset_dir": tmp_path, "labels": [7], "split": split, "fold": 0, "hparams": HPARAMS}


def auc(network: nn.Module, **given: Any) -> float | None:
    engine = Engine(lambda *_: None)
    StructureProbe(network, **given).attach(engine)
    return engine.run([0]).metrics.get("probe_auc")


def test_features_are_scored_by_what_they_show(scans: dict[str, Any]) -> None:
    knowing, guessing = Net(True).train(), Net(False)
    assert auc(knowing, **scans) > 0.98
    assert 0.35 < auc(guessing, **scans) < 0.65
    assert knowing.trunk.training


def test_without_labels_nothing_is_looked_at(scans: dict[str, Any]) -> None:
    assert auc(Net(True), **{**scans, "dataset_dir": None}) is None


def test_a_cell_is_the_structures_if_half_of_it_is() -> None:
    label = torch.zeros(1, 1, 2, 4)
    label[..., 0, :] = 1
    label[..., 0, 3] = 0
    rows, truth = cells(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]), label)
    assert rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert truth.tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": None}, "split must be given for a probe"),
        ({"hparams": {**HPARAMS, "spatial_dims": 3}}, "spatial_dims must be 2 for a probe of slabs, got 3"),
    ],
)
def test_what_it_cannot_look_at_is_refused(
    scans: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StructureProbe(Net(True), **{**scans, **change})

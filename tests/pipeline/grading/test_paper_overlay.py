"""The grader's overlays of both papers train by their optimizer and schedule, on nine slices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.bundles import bundle_path, run_network
from siamed.pipeline.datasets.splits import read_folds
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.phantoms.cohort import write_cohort
from siamed.pipeline.tasks import SPINENET


@pytest.mark.slow
@pytest.mark.parametrize("overlays", [["paper"], ["spinenet", "spinenet_tasks"]])
def test_the_overlay_trains(tmp_path: Path, overlays: list[str]) -> None:
    cohort = write_cohort(tmp_path / "cohort", subjects=10, folds=2)
    configs = bundle_path("spine_mr_disc_grading") / "configs"
    given = {
        "crops_file": cohort / "crops.npz",
        "split": cohort / "folds.json",
        "fold": 0,
        "sequences": ["T2"],
        "output_dir": tmp_path / "run",
        "hparams#field_px": [56, 112],
        "hparams#input_size": [56, 112],
        "hparams#width": 0.05,
        "hparams#hidden": 8,
        "hparams#batch_size": 16,
        "hparams#max_epochs": 2,
    }
    files = str([str(configs / f"{name}.yaml") for name in ("train", *overlays)])
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
    words += [word for key, value in given.items() for word in (f"--{key}", str(value))]
    ran = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["optimizer"]["_target_"] == "torch.optim.SGD"
    assert record["hparams"]["volumetric"] is (overlays == ["paper"])
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert [row["lr"] for row in history] == [0.001, 0.001]
    network, hparams = run_network(tmp_path / "run")
    assert len(network.classes) == len(hparams["tasks"])
    if overlays != ["paper"]:
        assert record["config"]["accumulation_steps"] == 4
        assert hparams["tasks"] == [task.name for task in SPINENET]
        crops = DiscCrops.load(cohort / "crops.npz").of(read_folds(cohort / "folds.json")[1], ["T2"])
        rows, columns = ((n - f) // 2 for n, f in zip(crops.images.shape[2:], (56, 112), strict=True))
        middle = crops.images[:, :, rows : rows + 56, columns : columns + 112].astype(float)
        np.testing.assert_allclose(network.mean.numpy(), middle.mean((0, 2, 3)), rtol=1e-4)

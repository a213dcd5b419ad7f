"""The grader's overlay of the transfer paper trains by its optimizer and schedule, on nine slices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.phantoms.cohort import write_cohort


@pytest.mark.slow
def test_the_overlay_trains(tmp_path: Path) -> None:
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
    files = str([str(configs / f"{name}.yaml") for name in ("train", "paper")])
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
    words += [word for key, value in given.items() for word in (f"--{key}", str(value))]
    subprocess.run(words, check=True, capture_output=True)
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["optimizer"]["_target_"] == "torch.optim.SGD"
    assert record["hparams"]["volumetric"] is True
    history = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert [row["lr"] for row in history] == [0.001, 0.001]

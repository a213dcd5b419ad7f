"""The bundle trains on follow-up scans of phantoms: what is tracked, the overlay of the paper, a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.phantoms.cohort import write_cohort

pytestmark = pytest.mark.slow

CONFIGS = bundle_path("spine_mr_siamese_pretraining") / "configs"
SMALL = {
    "hparams#slices": 9, "hparams#field_px": [112, 112], "hparams#input_size": [56, 56],
    "hparams#width": 0.05,
    "hparams#hidden": 16, "hparams#embedding": 8, "hparams#batch_size": 16, "hparams#pairs_per_epoch": 32,
    "hparams#pool5": False, "watch_sequences": "$None", "val_interval": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), subjects=10, folds=2)


def command(cohort: Path, out: Path, configs: list[str], **more: object) -> list[str]:
    files = str([str(CONFIGS / f"{name}.yaml") for name in configs])
    given = {
        **SMALL, "dataset_dir": cohort / "volumes", "split": cohort / "folds.json", "fold": 0,
        "output_dir": out, **more,
    }  # fmt: skip
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
    return words + [word for key, value in given.items() for word in (f"--{key}", str(value))]


def test_every_validation_logs_distances_levels_collapse_and_grades(cohort: Path, tmp_path: Path) -> None:
    more = {"probe_crops": cohort / "crops.npz", "hparams#max_epochs": 2}
    subprocess.run(command(cohort, tmp_path, ["train"], **more), check=True, capture_output=True)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    client = MlflowClient(record["tracking_uri"])
    run = client.get_run(record["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    wanted = ("same_person_auc", "column_auc", "level_accuracy", "embedding_spread", "effective_rank")
    for name in (*wanted, "collapsed", "knn_pfirrmann", "loss"):
        history = client.get_metric_history(run.info.run_id, f"val_{name}")
        assert [metric.step for metric in history] == [1, 2], name
    norms = client.get_metric_history(run.info.run_id, "train_gradient_norm")
    assert len(norms) == 2
    assert all(norm.value > 0 for norm in norms)
    figures = {entry.path for entry in client.list_artifacts(run.info.run_id, "figures")}
    wanted = ("same_person", "levels", "loss_curves", "health")
    assert figures >= {f"figures/{name}.png" for name in wanted}


def test_the_papers_overlay_trains_by_its_own_loss_optimizer_and_schedule(
    cohort: Path, tmp_path: Path
) -> None:
    more = {"hparams#max_epochs": 2, "hparams#max_lr": 0.001, "hparams#candidates": 3}
    subprocess.run(command(cohort, tmp_path, ["train", "paper"], **more), check=True, capture_output=True)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    config = record["config"]
    assert config["same_person"]["_target_"].endswith("ContrastiveLoss")
    assert config["optimizer"]["_target_"] == "torch.optim.SGD"
    assert record["hparams"]["momentum"] == 0.9
    saved = torch.load(tmp_path / "latest.pt", weights_only=True)
    assert saved["lr_scheduler"]["divided"] == 0
    history = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    assert [row["lr"] for row in history] == [0.001, 0.001]  # no cycle: a plateau alone changes it


def test_a_training_killed_outright_ends_as_an_uninterrupted_one(cohort: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = {"hparams#max_epochs": 4}
    subprocess.run(command(cohort, whole, ["train"], **more), check=True, capture_output=True)
    process = subprocess.Popen(
        command(cohort, killed, ["train"], **more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    history = killed / "history.json"
    while process.poll() is None:
        if history.is_file() and len(json.loads(history.read_text(encoding="utf-8"))) >= 2:
            process.kill()
            break
        time.sleep(0.05)
    process.wait()
    subprocess.run(command(cohort, killed, ["train"], **more), check=True, capture_output=True)
    weights = [torch.load(folder / "latest.pt", weights_only=True)["network"] for folder in (whole, killed)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5, msg=name)
    record = json.loads((killed / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "FINISHED"
    assert [attempt["status"] for attempt in record["earlier"]] == ["KILLED"]
    rows = json.loads(history.read_text(encoding="utf-8"))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]

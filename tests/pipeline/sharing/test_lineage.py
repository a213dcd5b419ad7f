"""From a pretraining to a bundle, to a fine-tuning, to a bundle: each link is written with its hashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow
from toy.samples import SAMPLES

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.experiments.transfer import describe_source
from siamed.pipeline.sharing.install import get_bundle
from siamed.pipeline.sharing.lineage import lineage, lineage_text
from siamed.pipeline.sharing.publish import publish
from siamed.pipeline.sharing.sources import Source

PRETRAINING, GRADING = "spine_mr_siamese_pretraining", "spine_mr_disc_grading"


def train(name: str, folder: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
    """Two steps of a bundle's training; gives the bundle that it leaves, and its run.json."""
    sample = SAMPLES[name](folder / "data")
    given = {
        "train#trainer#epoch_length": 2,
        "val_interval": 1,
        "tracking_uri": f"sqlite:///{folder}/runs.db",
        "output_dir": str(folder / "out"),
        "device": "cpu",
        **sample.train,
        **more,
    }
    config = str(bundle_path(name) / "configs" / "train.yaml")
    workflow = ConfigWorkflow(config, logging_file=False, workflow_type="train", **given)
    workflow.initialize()
    workflow.run()
    return folder / "out" / "bundle" / name, json.loads((folder / "out" / "run.json").read_text())


def test_the_chain_is_written_as_weights_go_from_bundle_to_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained, first = train(PRETRAINING, tmp_path / "first")
    publish([pretrained], tmp_path / "site")
    monkeypatch.setenv("SIAMED_BUNDLES", str(tmp_path / "bundles"))
    got = get_bundle(PRETRAINING, Source(index=str(tmp_path / "site" / "index.json")))
    wanted = f"{PRETRAINING}@{got.version}"
    graded, second = train(GRADING, tmp_path / "second", pretrained=wanted)

    weights = sha256_of(got.folder / "models" / "model.pt")
    assert second["pretraining"]["weights_sha256"] == weights
    assert (second["pretraining"]["bundle"], second["pretraining"]["version"]) == (PRETRAINING, got.version)
    bundle, training, before = lineage(graded)
    assert bundle["weights_sha256"] == sha256_of(graded / "models" / "model.pt")
    assert (training["name"], before["name"]) == (second["name"], f"{first['name']} ({wanted})")
    assert before["weights_sha256"] == weights
    manifests = {f"data {role} sha256": entry["sha256"] for role, entry in first["data"].items()}
    assert manifests.items() <= before.items()
    volumes = manifests["data volumes sha256"]
    assert volumes not in training.values()
    metadata = json.loads((graded / "configs" / "metadata.json").read_text())
    assert metadata["training"]["fold_left_out"] == second["config"]["fold"]
    assert metadata["training"]["pretraining"]["fold_left_out"] == first["config"]["fold"]
    text = lineage_text(lineage(graded))
    assert text.index(second["name"]) < text.index(first["name"]) < text.index(volumes)
    assert str(tmp_path) not in text


def test_a_run_as_a_source_is_told_by_its_checkpoint(tmp_path: Path) -> None:
    _, record = train(PRETRAINING, tmp_path)
    told = describe_source(tmp_path / "out")
    assert told["run"] == record["name"]
    assert told["weights_sha256"] == sha256_of(tmp_path / "out" / "latest.pt")
    assert "config" not in told


def test_a_bundle_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 'spine_xray'"):
        lineage("spine_xray")

"""Bundles are written whole or not at all, and with the hyper-parameters of their training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from toy.training import TOY, untrained_weights

from siamed.pipeline.build_bundle import build_bundle, export_weights, write_json_twins
from siamed.pipeline.bundles import bundle_hparams, bundle_path
from siamed.pipeline.experiments.files import sha256_of


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Untrained weights of the toy's network."""
    return untrained_weights()


def test_too_large_weights_leave_the_old_ones_in_place(tmp_path: Path) -> None:
    target = tmp_path / "model.pt"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"at most 0.1 MB in half precision, got 0.2 MB"):
        export_weights({"w": torch.zeros(100_000)}, target, max_mb=0.1)
    assert target.read_bytes() == b"old"


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finite weights, b \(of 1\) does not"):
        export_weights({"a": torch.zeros(1), "b": torch.tensor([float("nan")])}, tmp_path / "model.pt")


def test_what_half_precision_cannot_hold_stays_in_single_precision(tmp_path: Path) -> None:
    kept = {"variance": torch.tensor([1e6]), "w": torch.tensor([0.5]), "count": torch.tensor(7)}
    loaded = torch.load(export_weights(kept, tmp_path / "model.pt"), weights_only=True)
    assert {name: value.dtype for name, value in loaded.items()} == {
        "variance": torch.float32,
        "w": torch.float16,
        "count": torch.int64,
    }
    assert loaded["variance"].item() == 1e6


def test_a_trainings_overrides_become_the_bundles_own(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"network": weights}, tmp_path / "best.pt")
    hparams = {**bundle_hparams(TOY), "noise_std": 0.3, "max_epochs": [1, 2], "added": {"deep": True}}
    made = build_bundle(TOY, tmp_path / "best.pt", tmp_path / "made", hparams)
    assert bundle_hparams(made) == hparams
    assert json.loads((made / "configs" / "train.json").read_text())["hparams"] == hparams
    text = (made / "configs" / "train.yaml").read_text()
    assert "noise_std: 0.3       # [D-0034]" in text
    # Nothing but the three values is another line than in the source.
    before = (TOY / "configs" / "train.yaml").read_text().splitlines()
    assert len(set(text.splitlines()) - set(before)) == 3


@pytest.mark.parametrize(
    "name", ["spine_mr_disc_grading", "spine_mr_siamese_pretraining", "spine_mr_vertebra_detection"]
)
def test_shipped_bundles_take_overrides_of_nested_values_too(name: str, tmp_path: Path) -> None:
    hparams = json.loads(json.dumps(bundle_hparams(name)))
    weights = bundle_path(name) / "models" / "model.pt"
    text = (bundle_path(name) / "configs" / "train.yaml").read_text()
    same = build_bundle(name, weights, tmp_path / "same", hparams)
    assert (same / "configs" / "train.yaml").read_text() == text

    def changed(value: object) -> object:
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items()}
        return value + 1 if type(value) in (int, float) else value

    other = changed(hparams)
    made = build_bundle(name, weights, tmp_path / "made", other)
    assert bundle_hparams(made) == other != hparams


def test_json_twins_say_what_the_yaml_says(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TOY, copy)
    written = write_json_twins(copy)
    assert sorted(file.name for file in written) == [
        "evaluate.json",
        "inference.json",
        "multi_gpu_train.json",
        "train.json",
    ]
    assert json.loads((copy / "configs" / "train.json").read_text())["hparams"]["dropout"] == 0.2


def test_a_trained_copy_speaks_of_its_own_weights(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source = Path(shutil.copytree(TOY, tmp_path / TOY.name))
    file = source / "configs" / "metadata.json"
    told = {"figures": {"protocol": "p", "command": "c", "auc": 0.9}, "training": {"run": "another"}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **told, "exports": {"onnx": {}}}))
    (source / "configs" / "calibration.json").write_text("{}")
    torch.save({"network": weights}, tmp_path / "best.pt")
    run = {
        "name": "toy_1",
        "commit": "abc",
        "config": {"dataset_dir": "/of/somebody/patients"},
        "data": {"split": {"file": "split.json", "sha256": "1" * 64}},
        "pretraining": {"run": "before", "weights_sha256": "2" * 64},
    }
    made = build_bundle(source, tmp_path / "best.pt", tmp_path / "made", run=run)
    metadata = json.loads((made / "configs" / "metadata.json").read_text())
    assert "figures" not in metadata
    assert "exports" not in metadata
    assert not (made / "configs" / "calibration.json").exists()
    assert (source / "configs" / "calibration.json").exists()
    assert metadata["weights_sha256"] == sha256_of(made / "models" / "model.pt")
    assert metadata["version"] == f"0.1.0+{metadata['weights_sha256'][:8]}"
    assert metadata["version"] in metadata["changelog"]
    assert metadata["training"] == {
        "run": "toy_1",
        "commit": "abc",
        "data": run["data"],
        "pretraining": run["pretraining"],
    }
    assert "somebody" not in json.dumps(metadata)
    again = build_bundle(made, tmp_path / "best.pt", tmp_path / "again")
    version = json.loads((again / "configs" / "metadata.json").read_text())["version"]
    assert version == metadata["version"]


def test_a_network_of_another_input_is_described_as_it_is(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"network": weights}, tmp_path / "best.pt")
    source = Path(shutil.copytree(TOY, tmp_path / TOY.name))
    file = source / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [99, 99]
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 3
    file.write_text(json.dumps(metadata))
    made = build_bundle(source, tmp_path / "best.pt", tmp_path / "made", input_shape=(1, 16, 16))
    told = json.loads((made / "configs" / "metadata.json").read_text())["network_data_format"]
    assert told["inputs"]["image"]["spatial_shape"] == [16, 16]
    assert told["inputs"]["image"]["channel_def"] == {"0": "image"}
    assert told["outputs"]["pred"]["num_channels"] == 2
    assert told["outputs"]["pred"]["channel_def"] == {"0": "left", "1": "right"}


def test_a_network_trained_on_slabs_stays_described_as_it_is_used(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"network": weights}, tmp_path / "best.pt")
    made = build_bundle(TOY, tmp_path / "best.pt", tmp_path / "made", input_shape=(3, 16, 16, 16))
    before, after = (
        json.loads((root / "configs" / "metadata.json").read_text())["network_data_format"]
        for root in (TOY, made)
    )
    assert after == before


def test_a_block_that_an_overlay_replaced_is_the_trained_bundles_own(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"network": weights}, tmp_path / "best.pt")
    before = (TOY / "configs" / "train.yaml").read_text().splitlines()
    config = ConfigParser.load_config_file(str(TOY / "configs" / "train.yaml"))
    block = {**config["validate"], "added": ["@hparams", None, 1.5]}
    blocks = {"validate": block, "hparams": config["hparams"]}
    made = build_bundle(TOY, tmp_path / "best.pt", tmp_path / "made", blocks=blocks)
    after = (made / "configs" / "train.yaml").read_text().splitlines()
    assert json.loads((made / "configs" / "train.json").read_text()) == {**config, "validate": block}
    first = before.index("validate:")
    end = next(place for place in range(first + 1, len(before)) if before[place][:1] not in ("", " "))
    assert after[:first] == before[:first]  # the other block is as it was, its comments too
    assert after[len(after) - len(before[end:]) :] == before[end:]

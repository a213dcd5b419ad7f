"""Bundles are found, read and written from anywhere, and refuse what is wrong with a way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy.training import TOY, make_data, toy_workflow, untrained_weights

from siamed.pipeline.build_bundle import build_bundle
from siamed.pipeline.bundles import (
    bundle_hparams,
    bundle_info,
    bundle_path,
    dataset_dir,
    find_root,
    load_network,
    load_weights,
    run_network,
    running_config,
)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Untrained weights of the toy's network."""
    return untrained_weights()


@pytest.fixture
def built(weights: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    """The toy as a whole bundle."""
    torch.save({"network": weights, "metric": 0.5}, tmp_path / "best.pt")
    return build_bundle(TOY, tmp_path / "best.pt", tmp_path / "toy_bundle")


def test_a_bundle_is_found_by_its_folder_and_an_unknown_one_names_the_shipped() -> None:
    assert bundle_path(TOY) == TOY
    known = r"one of \[.*'spine_mr_vertebra_detection@0.1.0'.*\], got 'spine_xray'"
    with pytest.raises(ValueError, match=known):
        bundle_path("spine_xray")


@pytest.mark.parametrize("name", ["../bundles/spine_mr_vertebra_detection", "..", ""])
def test_a_name_is_not_a_way_out_of_the_shipped_bundles(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="bundle must be a folder with configs/metadata.json or one of"):
        bundle_path(name)


def test_weights_survive_half_precision_as_far_as_it_goes(
    built: Path, weights: dict[str, torch.Tensor]
) -> None:
    loaded = load_network(built).state_dict()
    assert loaded.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(loaded[name], value.half().float() if value.is_floating_point() else value)


def test_a_checkpoint_gives_the_same_weights_as_its_plain_state(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"optimizer": {"state": {}}, "network": weights}, tmp_path / "latest.pt")
    plain, nested = load_weights(tmp_path / "plain.pt"), load_weights(tmp_path / "latest.pt")
    assert plain.keys() == nested.keys()
    assert all(torch.equal(plain[name], nested[name]) for name in plain)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=r"path must hold a state dictionary of tensors, got wrong.pt"):
        load_weights(tmp_path / "wrong.pt")


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "pickled.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        load_weights(tmp_path / "pickled.pt")


def test_weights_of_another_network_are_refused(built: Path) -> None:
    torch.save({"layer.weight": torch.zeros(1)}, built / "models" / "model.pt")
    with pytest.raises(RuntimeError, match="Error"):
        load_network(built)


def test_a_bundle_without_weights_says_so() -> None:
    with pytest.raises(FileNotFoundError, match=r"bundle toy_bundle has no weights \(models/model.pt\)"):
        load_network(TOY)


def test_the_hash_is_that_of_the_weights_file(built: Path) -> None:
    import hashlib

    expected = hashlib.sha256((built / "models" / "model.pt").read_bytes()).hexdigest()
    assert bundle_info(built) == {
        "name": "toy_bundle",
        "version": f"0.1.0+{expected[:8]}",
        "sha256": expected,
        "agreement": {},
    }


def test_hyperparameters_come_from_the_training_configuration(built: Path) -> None:
    assert bundle_hparams(built)["noise_std"] == 0.1


def test_the_root_is_that_of_the_configuration_being_run_and_an_override_wins(
    built: Path, tmp_path: Path, monkeypatch
) -> None:
    data = make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert toy_workflow(data, tmp_path).bundle_root == str(TOY)
    assert toy_workflow(data, tmp_path, bundle_root=str(built)).bundle_root == str(built)


def test_outside_of_a_run_the_root_is_the_shipped_bundle_and_there_is_no_configuration() -> None:
    assert find_root("spine_mr_vertebra_detection") == str(bundle_path("spine_mr_vertebra_detection"))
    assert running_config() is None


def test_without_data_the_error_says_what_to_pass(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SIAMED_DATA", raising=False)
    with pytest.raises(ValueError, match="pass --dataset_dir FOLDER, or set the variable SIAMED_DATA"):
        dataset_dir("toy")
    monkeypatch.setenv("SIAMED_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SIAMED_DATA has no folder 'toy'"):
        dataset_dir("toy")
    (tmp_path / "toy").mkdir()
    assert dataset_dir("toy") == str(tmp_path / "toy")


def test_the_network_of_a_training_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="run must be the folder of a training, run has no run.json"):
        run_network(folder)
    toy_workflow(make_data(tmp_path / "data"), folder, **{"hparams#max_epochs": 1}).run()
    network, hparams = run_network(folder)
    assert not network.training
    assert hparams["max_epochs"] == 1
    held = torch.load(folder / "latest.pt", weights_only=True)["network"]
    assert all(torch.equal(value, held[name]) for name, value in network.state_dict().items())
    record = json.loads((folder / "run.json").read_text())
    del record["config"]["network_def"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="run must be of a bundle with 'network_def', toy_bundle.* has none"):
        run_network(folder)

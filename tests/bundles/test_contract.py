"""What every bundle keeps: it is whole, its names resolve, it trains and infers, MONAI's checks accept it."""

from __future__ import annotations

import hashlib
import json
import os
import pydoc
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow
from monai.transforms.traits import RandomizableTrait
from toy.samples import SAMPLES
from toy.training import TOY, untrained_weights

from siamed.pipeline.build_bundle import MAX_WEIGHTS_MB, build_bundle
from siamed.pipeline.bundles import bundle_info, bundle_parser, load_network
from siamed.pipeline.sharing.release import build_release
from siamed.pipeline.sharing.verify import verify_bundle

ROOT = Path(__file__).resolve().parents[2]
# Every bundle of the repository: a new one is added here and in toy/samples.py.
SHIPPED = [
    "abdomen_mr_liver_segmentation",
    "abdomen_mr_ssl_pretraining",
    "kidney_ct_segmentation",
    "kidney_ct_siamese_pretraining",
    "kidney_mr_segmentation",
    "kidney_mr_siamese_pretraining",
    "spine_mr_disc_grading",
    "spine_mr_siamese_pretraining",
    "spine_mr_vertebra_detection",
]
CONFIGS = ("train", "inference", "evaluate", "multi_gpu_train")
SCHEMA = ROOT / "pipeline" / "sharing" / "bundle_metadata.schema.json"


def test_every_bundle_is_found_and_has_a_sample() -> None:
    found = sorted(
        path.parent.parent.relative_to(ROOT / "bundles") for path in ROOT.glob("bundles/**/metadata.json")
    )
    assert [str(path) for path in found] == SHIPPED
    assert sorted(SAMPLES) == sorted([*SHIPPED, TOY.name])


@pytest.fixture(scope="module", params=[TOY.name, *SHIPPED])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's folder; the toy, which ships no weights, gets untrained ones."""
    if request.param != TOY.name:
        return ROOT / "bundles" / request.param
    folder = tmp_path_factory.mktemp("built")
    torch.save(untrained_weights(), folder / "checkpoint.pt")
    return build_bundle(TOY, folder / "checkpoint.pt", folder / TOY.name)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/runs.db"


def config(bundle: Path, name: str) -> dict[str, Any]:
    return ConfigParser.load_config_file(str(bundle / "configs" / f"{name}.yaml"))


def targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` below a node of a configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from targets(item)


def test_it_is_whole_and_holds_no_code(bundle: Path) -> None:
    wanted = ["LICENSE", "docs/README.md", "models/model.pt", "configs/metadata.json", "configs/logging.conf"]
    wanted += [f"configs/{name}.yaml" for name in CONFIGS]
    assert [name for name in wanted if not (bundle / name).is_file()] == []
    assert list(bundle.rglob("*.py")) == []
    assert all(file.stat().st_size <= MAX_WEIGHTS_MB * 1e6 for file in bundle.rglob("*") if file.is_file())


def test_its_json_twins_say_what_its_yaml_says(bundle: Path) -> None:
    for name in CONFIGS:
        twin = json.loads((bundle / "configs" / f"{name}.json").read_text())
        assert twin == config(bundle, name), (
            f"run siamed.pipeline.build_bundle.write_json_twins on {bundle.name}"
        )


def verify(files: str | list[str], folder: Path) -> None:
    digest = hashlib.sha256(SCHEMA.read_bytes()).hexdigest()
    filepath = str(folder / "schema.json")
    monai.bundle.verify_metadata(files, filepath=filepath, hash_val=digest, hash_type="sha256")


def test_its_metadata_passes_monais_check_offline(bundle: Path, tmp_path: Path) -> None:
    # The schema that metadata names lies on a server: a second metadata file names one here instead.
    local = tmp_path / "local.json"
    local.write_text(json.dumps({"schema": SCHEMA.as_uri()}))
    files = [str(bundle / "configs" / "metadata.json"), str(local)]
    verify(files, tmp_path)
    metadata = json.loads(Path(files[0]).read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["schema"].startswith("https://github.com/Project-MONAI/MONAI-extra-test-data/releases/")


def test_the_metadata_check_refuses_what_is_missing(tmp_path: Path) -> None:
    metadata = json.loads((TOY / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]["outputs"]
    whole = {**metadata, "weights_sha256": "0" * 64, "schema": SCHEMA.as_uri()}
    (tmp_path / "metadata.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="'outputs' is a required property"):
        verify(str(tmp_path / "metadata.json"), tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_component_it_names_exists(bundle: Path, name: str) -> None:
    locator = ComponentLocator()
    missing = [
        target
        for target in targets(config(bundle, name))
        if (pydoc.locate(target) if "." in target else locator.get_component_module_name(target)) is None
    ]
    assert missing == []


def test_what_it_caches_is_cached_whole(bundle: Path) -> None:
    # MONAI stops caching at the first transform that it takes for random: a Compose within a Compose is one.
    parser = bundle_parser(str(bundle), "train")
    cached = [
        f"{part}#{name}"
        for part in ("train", "validate")
        for name, entry in parser[part].items()
        if isinstance(entry, dict) and entry.get("_target_") == "CacheDataset"
    ]
    assert bool(cached) == ("CacheDataset" in targets(parser.get()))
    for entry in cached:
        transform = parser.get_parsed_content(parser[entry]["transform"].removeprefix("@"))
        assert not [step for step in transform.transforms if isinstance(step, RandomizableTrait)], entry


def test_it_is_sound_and_builds_to_the_same_zip_twice(bundle: Path, tmp_path: Path) -> None:
    report = verify_bundle(bundle)
    assert report.faults == ()
    first, _ = build_release(bundle, tmp_path / "first")
    second, _ = build_release(shutil.copytree(bundle, tmp_path / "copy" / bundle.name), tmp_path / "second")
    assert first.name == f"{bundle.name}_v{report.version}.zip"
    assert first.read_bytes() == second.read_bytes()
    assert verify_bundle(first).faults == ()


def test_its_weights_are_half_precision_and_fit_its_network(bundle: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    floats = [value.dtype for value in weights.values() if value.is_floating_point()]
    assert floats.count(torch.float16) > 0.9 * len(floats)
    network = load_network(bundle)
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert len(bundle_info(bundle)["sha256"]) == 64


def test_its_network_takes_and_gives_what_its_metadata_says(bundle: Path) -> None:
    monai.bundle.verify_net_in_out(
        "network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.yaml"),
        bundle_root=str(bundle),
        device="cpu",
        n=4,
        any=64,
    )


def workflow(bundle: Path, kind: str, output: Path, overrides: dict[str, Any]) -> ConfigWorkflow:
    made = ConfigWorkflow(
        str(bundle / "configs" / f"{kind}.yaml"),
        logging_file=False,
        workflow_type=kind.replace("inference", "infer"),
        **{"output_dir": str(output), "device": "cpu", **overrides},
    )
    made.initialize()
    return made


def test_two_training_steps_leave_a_checkpoint_and_a_finished_run(
    bundle: Path, store: str, tmp_path: Path
) -> None:
    sample = SAMPLES[bundle.name](tmp_path / "data")
    overrides = {"train#trainer#epoch_length": 2, "val_interval": 1, "tracking_uri": store, **sample.train}
    training = workflow(bundle, "train", tmp_path / "out", overrides)
    assert training.check_properties() == []
    before = {name: value.clone() for name, value in training.network_def.state_dict().items()}
    training.run()
    saved = torch.load(tmp_path / "out" / "latest.pt", weights_only=True)
    assert (saved["training"]["epoch"], saved["training"]["iteration"]) == (1, 2)
    after = saved["network"]
    assert any(not torch.equal(after[name], before[name]) for name in before)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "FINISHED"
    assert np.isfinite(record["best_metric"]["value"])
    assert load_network(tmp_path / "out" / "bundle" / bundle.name).training is False


def test_inference_on_a_sample_leaves_its_results(bundle: Path, tmp_path: Path) -> None:
    sample = SAMPLES[bundle.name](tmp_path / "data")
    inference = workflow(bundle, "inference", tmp_path / "out", sample.inference)
    assert inference.check_properties() == []
    inference.run()
    assert any(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())


# MONAI warns whoever loads a bundle that its configuration runs code.
@pytest.mark.filterwarnings("ignore:parsing config_file")
def test_monai_loads_it_by_name_with_the_same_weights(bundle: Path) -> None:
    loaded = monai.bundle.load(
        bundle.name, bundle_dir=str(bundle.parent), workflow_type="inference", device="cpu"
    )
    own = load_network(bundle).state_dict()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in loaded.state_dict().items())


def command(*words: str, cwd: Path, program: tuple[str, ...] = ("-m", "monai.bundle")) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("SIAMED_DATA", None)
    done = subprocess.run(
        [sys.executable, *program, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def options(overrides: dict[str, Any]) -> list[str]:
    return [word for name, value in overrides.items() for word in (f"--{name}", str(value))]


@pytest.mark.slow
def test_it_exports_to_torchscript_and_onnx(bundle: Path, tmp_path: Path) -> None:
    import onnxruntime

    files = {
        "ckpt_file": bundle / "models" / "model.pt",
        "meta_file": bundle / "configs" / "metadata.json",
        "config_file": bundle / "configs" / "inference.yaml",
        "bundle_root": bundle,
    }
    network = load_network(bundle)
    parser = ConfigParser()
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    tensor = parser["_meta_#network_data_format#inputs#image"]
    shape = [2, tensor["num_channels"], *(64 if isinstance(n, str) else n for n in tensor["spatial_shape"])]
    command(
        "ckpt_export", "network_def", *options({**files, "filepath": tmp_path / "model.ts"}), cwd=tmp_path
    )
    exported = {**files, "filepath": tmp_path / "model.onnx", "input_shape": shape}
    command("onnx_export", "network_def", *options(exported), cwd=tmp_path)
    image = torch.rand(shape)
    with torch.no_grad():
        expected = network(image)
        script = torch.jit.load(str(tmp_path / "model.ts"))(image)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (onnx,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(script, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(torch.from_numpy(onnx), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_command_line_runs_it_from_any_folder(bundle: Path, tmp_path: Path) -> None:
    sample = SAMPLES[bundle.name](tmp_path / "data")
    for kind, overrides in (("train", sample.train), ("inference", sample.inference)):
        given = {**overrides, "output_dir": kind}
        command(
            "run", "--config_file", str(bundle / "configs" / f"{kind}.yaml"), *options(given), cwd=tmp_path
        )
        assert any((tmp_path / kind).iterdir())
    files = str([str(bundle / "configs" / f"{name}.yaml") for name in ("train", "evaluate")])
    given = {**sample.train, "output_dir": "train"}
    command("run", "--config_file", files, *options(given), cwd=tmp_path)
    assert json.loads((tmp_path / "train/evaluation/run.json").read_text())["status"] == "FINISHED"


@pytest.mark.slow
def test_two_processes_train_one_network(bundle: Path, tmp_path: Path) -> None:
    sample = SAMPLES[bundle.name](tmp_path / "data")
    files = str([str(bundle / "configs" / f"{name}.yaml") for name in ("train", "multi_gpu_train")])
    given = {**sample.train, "backend": "gloo", "output_dir": "out", "val_interval": 1}
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle")
    command("run", "--config_file", files, *options(given), cwd=tmp_path, program=torchrun)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["status"], record["earlier"]) == ("FINISHED", [])  # one process recorded
    saved = torch.load(tmp_path / "out" / "latest.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in saved["network"])


def test_a_copied_bundle_is_run_with_its_own_files(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / bundle.name
    shutil.copytree(bundle, copy)
    sample = SAMPLES[bundle.name](tmp_path / "data")
    assert workflow(copy, "inference", tmp_path, sample.inference).bundle_root == str(copy)

"""A finished training into the Model Registry of its MLflow store, with what it came from.

>>> registered = register_run("runs/first")  # doctest: +SKIP
>>> mlflow.pyfunc.load_model(registered.model_uri)  # doctest: +SKIP

A version's tags say which weights it has (SHA-256), how they came about (commit, configuration, run, hashes
of data files, best metric) and where they started from (pretraining). Nothing of a patient and no path is in
tags, descriptions or the stored example, which is noise. What a version answers is
:mod:`siamed.pipeline.sharing.served`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamed.pipeline.bundles import bundle_info
from siamed.pipeline.experiments.checkpoints import LATEST
from siamed.pipeline.experiments.files import read_json
from siamed.pipeline.experiments.mlflow_registry import MlflowRegistry, Servable
from siamed.pipeline.experiments.mlflow_store import tracking_store, without_credentials
from siamed.pipeline.experiments.record import RUN_FILE, package_versions

__all__ = ["Registered", "register_run"]

log = logging.getLogger(__name__)

_LOADER = "siamed.pipeline.sharing.served"
_PINNED = ("torch", "monai", "numpy", "pytorch-ignite", "nibabel", "mlflow")
_SHA256 = "weights.sha256"


@dataclass(frozen=True)
class Registered:
    """A version in a registry.

    Args:
        name: of the registered model, the bundle's.
        version: its number, counted from 1.
        model_uri: what MLflow loads it by, ``models:/NAME/VERSION``.
        tracking_uri: of the store, without credentials.
        is_new: False where these weights had been registered before.
    """

    name: str
    version: int
    model_uri: str
    tracking_uri: str
    is_new: bool


def register_run(
    output_dir: str | Path, tracking_uri: str | None = None, tell: Callable[[str], Any] = log.info
) -> Registered:
    """Register the bundle of a finished training.

    Args:
        output_dir: folder of the training, as TrackRun leaves it: ``run.json`` and ``bundle/NAME``.
        tracking_uri: the store that has the run; by default the one named in run.json. run.json keeps no
            password: a store with one is given here, or is what ``MLFLOW_TRACKING_URI`` names.
        tell: told what was done, a sentence at a time.

    Returns:
        The version; the existing one where the same weights are registered already.

    Raises:
        ValueError: if the folder holds no finished training or no bundle, the store does not have the run, or
            the bundle cannot be served.
    """
    folder = Path(output_dir)
    record = _finished_record(folder)
    bundle = _bundle_of(folder)
    uri, info = _store_of(record, folder, tracking_uri), bundle_info(bundle)
    name, shown = info["name"], without_credentials(uri)
    registry = MlflowRegistry(uri)
    if registry.run_status(record["mlflow_run_id"]) is None:
        raise ValueError(
            f"tracking_uri must be the store that has run {record['mlflow_run_id']}, {shown} has not: give "
            "the one that the training wrote to"
        )
    version = registry.version_with(name, _SHA256, info["sha256"])
    is_new = version is None
    if version is None:
        version = _new_version(registry, record, bundle, info)
    done = "registered" if is_new else "these weights are registered already,"
    tell(f"{done} {name} version {version} in {shown}")
    return Registered(name, version, f"models:/{name}/{version}", shown, is_new)


def _new_version(
    registry: MlflowRegistry, record: Mapping[str, Any], bundle: Path, info: Mapping[str, Any]
) -> int:
    metadata = read_json(bundle / "configs" / "metadata.json")
    lineage, epoch = _lineage(record, registry), _weights_epoch(record)
    return registry.register(
        record["mlflow_run_id"],
        _servable(bundle, info),
        epoch=epoch,
        tags=_tags(record, info, lineage, epoch),
        description=_description(record, metadata, lineage, epoch),
        about=metadata["description"],
    )


def _finished_record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / RUN_FILE)
    if record is None or record.get("kind") != "training":
        raise ValueError(
            f"output_dir must be the folder of a training, {folder.name} has no {RUN_FILE} of one"
        )
    if record["status"] != "FINISHED":
        raise ValueError(
            f"output_dir must hold a FINISHED training, {folder.name} is {record['status']}: resume it with "
            "the same command"
        )
    if not record.get("mlflow_run_id"):
        raise ValueError(f"output_dir must hold a tracked training, {folder.name} names no MLflow run")
    return dict(record)


def _bundle_of(folder: Path) -> Path:
    found = sorted(file.parent.parent for file in folder.glob("bundle/*/configs/metadata.json"))
    if len(found) != 1:
        raise ValueError(
            f"output_dir must hold one bundle, {folder.name}/bundle holds {len(found)}: train with TrackRun "
            "and its bundle_root"
        )
    return found[0]


def _store_of(record: Mapping[str, Any], folder: Path, given: str | None) -> str:
    recorded, named = record.get("tracking_uri"), os.environ.get("MLFLOW_TRACKING_URI")
    if given is None and named and without_credentials(named) == recorded:
        given = named
    uri = tracking_store(folder, given or recorded)
    path = uri.removeprefix("sqlite:///")
    # MLflow would make an empty database where there is none.
    if path != uri and not Path(path).is_file():
        raise ValueError(
            f"tracking_uri must be the store that has the run, there is no {Path(path).name} any more: give "
            "its new place"
        )
    return uri


def _weights_epoch(record: Mapping[str, Any]) -> int | None:
    """The epoch that the bundle's weights are of: TrackRun exports the best one, or the last where its
    ``weights`` says so or nothing was validated."""
    config = record.get("config") or {}
    handlers = (config.get("train") or {}).get("handlers") or []
    trackers = [h for h in handlers if isinstance(h, Mapping) and str(h.get("_target_")).endswith("TrackRun")]
    best = record.get("best_metric")
    if best is None or any(tracker.get("weights") == LATEST for tracker in trackers):
        return record.get("epochs")
    return int(best["epoch"])


def _lineage(record: Mapping[str, Any], registry: MlflowRegistry) -> dict[str, Any]:
    """What the weights started from, as the training recorded it, and the MLflow run of that where the store
    has it."""
    source = record.get("pretraining") or {}
    found = {
        "run_id": record.get("parent_run")
        or (registry.run_named(source["run"]) if "run" in source else None),
        **{key: source.get(key) for key in ("run", "bundle", "version", "commit")},
        _SHA256: source.get("weights_sha256"),
        **_data_hashes(source),
    }
    return {key: value for key, value in found.items() if value is not None}


def _data_hashes(training: Mapping[str, Any]) -> dict[str, str]:
    data = training.get("data")
    if not isinstance(data, Mapping):
        return {}
    return {f"data.{role}.sha256": entry["sha256"] for role, entry in data.items()}


def _tags(
    record: Mapping[str, Any], info: Mapping[str, Any], lineage: Mapping[str, Any], epoch: int | None
) -> dict[str, str]:
    tags = {
        "bundle.version": info["version"],
        _SHA256: info["sha256"],
        "epoch": epoch,
        "run_id": record["mlflow_run_id"],
        "run_name": record["name"],
        **{key: record.get(key) for key in ("commit", "dirty", "config_sha256", "seed")},
        **_data_hashes(record),
        **{f"best_metric.{key}": value for key, value in (record.get("best_metric") or {}).items()},
        **{f"pretraining.{key}": value for key, value in lineage.items()},
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def _description(
    record: Mapping[str, Any], metadata: Mapping[str, Any], lineage: Mapping[str, Any], epoch: int | None
) -> str:
    text = [f"{metadata.get('name', 'Bundle')} {metadata['version']}. {metadata['task']}."]
    if epoch is not None:
        text.append(f"Weights of epoch {epoch}.")
    if best := record.get("best_metric"):
        config = record.get("config") or {}
        seen = " of subjects in the training" if "fold" in config and config["fold"] is None else ""
        text.append(f"Best {best['name']} {best['value']:.4g} at epoch {best['epoch']}{seen}.")
    if lineage:
        text.append(f"Started from {_source_name(lineage)}.")
    text.append("Input: a column 'path' (NIfTI file) or 'image' (one input of the network).")
    return " ".join(text)


def _source_name(lineage: Mapping[str, Any]) -> str:
    if "bundle" in lineage:
        return f"{lineage['bundle']} {lineage['version']}"
    return str(lineage.get("run") or f"run {lineage['run_id']}")


def _servable(bundle: Path, info: Mapping[str, Any]) -> Servable:
    """The bundle, after it has answered its own example."""
    from .served import ServedBundle

    served = ServedBundle(bundle)
    example = served.input.example()
    served.answer_image(example)
    versions = package_versions(*_PINNED)
    pins = (f"{name}=={_public(versions[name])}" for name in ("siamed", *_PINNED) if name in versions)
    facts = {"bundle": info["name"], "bundle_version": info["version"], _SHA256: info["sha256"]}
    return Servable(info["name"], bundle, _LOADER, example, served.input.ndim, tuple(pins), facts)


def _public(version: str) -> str:
    """A version as an index has it: without what a local build adds behind a plus."""
    return version.partition("+")[0]

"""Whether a bundle is whole, honest about itself, and free of code: all that can be told without running it.

What MONAI's model zoo checks (files, metadata against its schema, version in the changelog, weights that fit
the network, input and output as described, properties of the workflows) is checked offline; beside it hashes,
configurations against a list of what they may name, pickles in weights, the README's figures against the
metadata's. The network is built only after nothing was found that could run code.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import siamed
from siamed.pipeline.experiments.files import sha256_of

from .archive import archive_faults, unpack
from .card import missing_figures, missing_sections, without_card
from .config_safety import config_faults, logging_faults
from .contents import SUMS, bundle_files, file_faults, sums_faults
from .input_format import InputFormat, only_tensor
from .weights_safety import weights_faults

__all__ = ["Check", "Report", "Unsound", "opened", "verify_bundle"]

_YAML = (".yaml", ".yml")


class Unsound(ValueError):
    """A bundle that verification refuses; the message has its faults."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what was checked.
        faults: what is wrong; empty if nothing is.
        note: what was found, where that is worth saying; why the check was left out.
    """

    name: str
    faults: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The checks of one bundle.

    Args:
        bundle: its name.
        version: as its metadata has it, empty if it has none.
        checks: in the order in which they were made.
    """

    bundle: str
    version: str
    checks: tuple[Check, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether no check found a fault."""
        return not self.faults

    @property
    def faults(self) -> tuple[str, ...]:
        """All faults, each behind the name of its check."""
        return tuple(f"{check.name}: {fault}" for check in self.checks for fault in check.faults)

    def raise_if_unsound(self) -> None:
        """Raises: Unsound: if a check found a fault."""
        if not self.is_sound:
            raise Unsound(f"{self.bundle or 'the bundle'} is refused: {'; '.join(self.faults)}")


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[Path | None, Check]]:
    """A bundle's folder, given the folder or its zip, unpacked beside nothing else for as long as it is
    needed.

    Yields:
        The folder, or None where a zip may not be unpacked, and the check of the zip.

    Raises:
        ValueError: if there is neither.
    """
    path = Path(path)
    if path.is_dir():
        yield path.resolve(), Check("archive", note="a folder, not a zip")
        return
    if not path.is_file():
        raise ValueError(f"path must be a bundle's folder or zip, got {path}")
    faults = archive_faults(path)
    if faults:
        yield None, Check("archive", tuple(faults))
        return
    with tempfile.TemporaryDirectory() as beside:
        try:
            root = unpack(path, Path(beside) / "bundle")
        except ValueError as error:
            yield None, Check("archive", (str(error),))
            return
        named = path.name.startswith(f"{root.name}_v") or path.stem == root.name
        fault = (f"its root folder is {root.name}, which its name does not say",) if not named else ()
        yield root, Check("archive", fault, f"{path.stat().st_size / 1e6:.1f} MB")


def verify_bundle(path: str | Path, summed: bool | None = None) -> Report:
    """Check a bundle.

    Args:
        path: its folder, or its zip.
        summed: whether it must have ``SHA256SUMS``; None asks it of zips alone, as a source folder has none.

    Returns:
        The report; checks that need what an earlier one refused are left out, and say so.

    Raises:
        ValueError: if there is neither a folder nor a file.
    """
    with opened(path) as (root, archive):
        if root is None:
            return Report("", "", (archive,))
        must = summed if summed is not None else Path(path).is_file()
        checks = [archive, Check("files", tuple(file_faults(root)))]
        if any((root / name).is_symlink() for name in bundle_files(root)):
            return Report(root.name, "", tuple(checks))  # nothing outside is read
        if must or (root / SUMS).is_file():
            checks.append(_guarded("hashes", lambda: sums_faults(root), "SHA256SUMS"))
        else:
            checks.append(Check("hashes", note="no SHA256SUMS: a source folder"))
        metadata = _json(root / "configs" / "metadata.json")
        checks += [
            _guarded("metadata", lambda: _metadata_faults(root, metadata)),
            _guarded("configurations", lambda: _config_faults(root)),
            _guarded("logging", lambda: _logging_faults(root)),
            _guarded("weights", lambda: [f for file in _models(root) for f in weights_faults(file)]),
        ]
        if any(check.faults for check in checks):
            checks.append(Check("network", note="not built: see above"))
        else:
            checks.append(_guarded("network", lambda: _network_faults(root, metadata)))
        checks.append(_guarded("documents", lambda: _document_faults(root, metadata)))
        version = metadata.get("version", "") if isinstance(metadata, dict) else ""
        return Report(root.name, str(version), tuple(checks))


def _guarded(name: str, check: Callable[[], list[str]], note: str = "") -> Check:
    # A foreign bundle may break a check in ways that nobody thought of: that is a fault of the bundle.
    try:
        return Check(name, tuple(check()), note)
    except Exception as error:
        return Check(name, (f"{type(error).__name__}: {error}",))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _models(root: Path) -> list[Path]:
    return sorted((root / "models").glob("*")) if (root / "models").is_dir() else []


@lru_cache(maxsize=1)
def _schema() -> Any:
    from jsonschema import Draft7Validator

    file = Path(__file__).with_name("bundle_metadata.schema.json")
    return Draft7Validator(json.loads(file.read_text(encoding="utf-8")))


def _metadata_faults(root: Path, metadata: Any) -> list[str]:
    from packaging.version import Version

    if not isinstance(metadata, dict):
        return ["configs/metadata.json must be JSON"]
    errors = sorted(_schema().iter_errors(metadata), key=lambda e: list(map(str, e.path)))
    if errors:
        return [f"{'#'.join(map(str, error.path)) or 'metadata'}: {error.message}" for error in errors]
    faults = []
    version, weights = metadata["version"], root / "models" / "model.pt"
    if version not in metadata["changelog"]:
        faults.append(f"version {version} is not in the changelog")
    newest = max(metadata["changelog"], key=Version)
    if Version(newest) > Version(version):
        faults.append(f"the changelog has version {newest}, the bundle says {version}")
    if weights.is_file() and sha256_of(weights) != metadata["weights_sha256"]:
        faults.append(f"weights_sha256 is not the hash of models/model.pt, {sha256_of(weights)}")
    exports = {entry.get("file"): entry.get("sha256") for entry in metadata.get("exports", {}).values()}
    for file in _models(root):
        if file != weights and exports.get(file.name) != sha256_of(file):
            faults.append(f"exports has no entry with the hash of models/{file.name}")
    faults += [
        f"models/{name} of exports is missing"
        for name in exports
        if not (root / "models" / str(name)).is_file()
    ]
    needed = metadata["required_packages_version"].get("siamed")
    if needed is not None and Version(needed) > Version(siamed.__version__):
        faults.append(f"it needs siamed {needed}, this is {siamed.__version__}: upgrade siamed")
    return faults


def _configs(root: Path) -> Iterator[tuple[str, Any]]:
    """Name and content of each configuration; the content is an exception where there is none."""
    import yaml

    for file in sorted((root / "configs").glob("*")):
        try:
            if file.suffix in _YAML:
                yield file.name, yaml.safe_load(file.read_text(encoding="utf-8"))
            elif file.suffix == ".json" and file.name != "metadata.json":
                yield file.name, json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            yield file.name, error


def _config_faults(root: Path) -> list[str]:
    contents = dict(_configs(root))
    broken = [f"{name}: {content}" for name, content in contents.items() if isinstance(content, Exception)]
    faults = [
        f"{name}: {fault}"
        for name, content in contents.items()
        if not isinstance(content, Exception)
        for fault in config_faults(content)
    ]
    metadata = _json(root / "configs" / "metadata.json")
    # References may lead into the metadata, where an expression would be one too.
    faults += [f"metadata.json: {fault}" for fault in config_faults(_without_texts(metadata))]
    for name, content in contents.items():
        twin = f"{Path(name).stem}.json"
        if Path(name).suffix in _YAML and twin in contents and contents[twin] != content:
            faults.append(f"{twin} says something else than {name}")
    return broken + faults + _property_faults(contents)


def _without_texts(node: Any) -> Any:
    """Metadata without its prose, which may hold addresses and paths and is no configuration."""
    if isinstance(node, dict):
        return {key: _without_texts(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_texts(value) for value in node]
    return node if isinstance(node, str) and node[:1] in ("$", "%") else None


def _property_faults(contents: dict[str, Any]) -> list[str]:
    from monai.bundle.properties import InferProperties, TrainProperties
    from monai.utils import BundleProperty, BundlePropertyConfig

    faults = []
    for name, wanted in (("train", TrainProperties), ("inference", InferProperties)):
        config = next((contents[f"{name}{s}"] for s in (*_YAML, ".json") if f"{name}{s}" in contents), None)
        if config is None and name == "inference":
            faults.append("there is no configs/inference.yaml or .json")
        if not isinstance(config, dict):
            continue
        for entry, described in wanted.items():
            path = str(described[BundlePropertyConfig.ID])
            if (
                described[BundleProperty.REQUIRED]
                and not path.startswith("_meta_")
                and not _has(config, path)
            ):
                faults.append(f"{name}: MONAI's property {entry} needs the entry {path}")
    return faults


def _has(config: Any, path: str) -> bool:
    for part in re.split("#|::", path):
        if isinstance(config, str) and config.startswith(("@", "$")):
            return True  # it is made by something else, which cannot be told without running it
        if not isinstance(config, dict) or part not in config:
            return isinstance(config, dict) and "_target_" in config
        config = config[part]
    return True


def _logging_faults(root: Path) -> list[str]:
    return [
        f"{file.name}: {fault}"
        for file in sorted((root / "configs").glob("*.conf"))
        for fault in logging_faults(file.read_text(encoding="utf-8", errors="replace"))
    ]


def _network_faults(root: Path, metadata: dict[str, Any]) -> list[str]:
    import torch

    from siamed.pipeline.bundles import load_network

    weights = torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True)
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        return ["models/model.pt must hold a plain state dictionary of tensors"]
    broken = [name for name, v in weights.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        return [f"models/model.pt must hold finite weights, {broken[0]} (of {len(broken)}) does not"]
    try:
        network = load_network(root)
    except RuntimeError as error:
        return [f"weights and network do not fit each other: {error}"]
    with torch.no_grad():
        output = network(torch.zeros(2, *InputFormat.of_metadata(metadata).example_shape()))
    channels = only_tensor(metadata, "outputs")["num_channels"]
    if output.shape[1] != channels:
        return [f"the network gives {output.shape[1]} channels, the metadata says {channels}"]
    return []


def _document_faults(root: Path, metadata: Any) -> list[str]:
    text = without_card((root / "docs" / "README.md").read_text(encoding="utf-8"))
    faults = [f"docs/README.md has no section {name!r}" for name in missing_sections(text)]
    figures = metadata.get("figures", {}) if isinstance(metadata, dict) else {}
    return faults + missing_figures(figures, text)

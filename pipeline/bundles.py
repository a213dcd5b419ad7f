"""MONAI bundles as siamed ships and trains them: where they lie, and how they are read.

A bundle is a folder ``LICENSE, configs/, docs/, models/`` without Python; ``docs/bundles.md`` says how its
configurations are laid out. ``models/model.pt`` is a plain state dictionary in half precision, read with
``weights_only=True`` and cast back to single precision. Writing them is :mod:`siamed.pipeline.build_bundle`,
getting and giving them :mod:`siamed.pipeline.sharing`.

A bundle of another place than this package is read only if its configurations name nothing but components of
monai, torch, siamed, numpy and ignite, and its files are those of its ``SHA256SUMS`` where it has one:
building its network would otherwise run whatever it says [D-0078].
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from packaging.version import InvalidVersion, Version
from torch import nn

from .experiments.files import read_json, sha256_of
from .sharing.foreign import check_file, check_hparams, is_foreign, shipped_dir, trusting

__all__ = [
    "bundle_entry",
    "bundle_hparams",
    "bundle_info",
    "bundle_parser",
    "bundle_path",
    "config_files",
    "dataset_dir",
    "find_root",
    "installed_dir",
    "load_network",
    "load_weights",
    "run_network",
    "running_config",
    "shipped_bundles",
]

_PLACE = "SIAMED_BUNDLES"
_SUFFIXES = (".yaml", ".yml", ".json")
_NETWORK_KEYS = ("network", "model", "state_dict")


def installed_dir() -> Path:
    """Where downloaded bundles are: ``$SIAMED_BUNDLES``, else the folder that MONAI's own download takes."""
    named = os.environ.get(_PLACE)
    return Path(named) if named else Path(torch.hub.get_dir()) / "bundle"


def bundle_path(name_or_path: str | Path) -> Path:
    """The folder of a bundle, given the folder itself, a name, or a name and a version.

    Args:
        name_or_path: a folder that holds ``configs/metadata.json``; a name such as ``spine_mr_disc_grading``,
            which is the newest of the shipped and the downloaded one; ``NAME@VERSION``, which is that
            version.

    Returns:
        The bundle's absolute folder.

    Raises:
        ValueError: if there is no such bundle; the message lists those there are.
    """
    if (Path(name_or_path) / "configs" / "metadata.json").is_file():
        return Path(name_or_path).resolve()
    name, _, version = str(name_or_path).partition("@")
    found: list[tuple[Version, Path]] = []
    if name and Path(name).name == name:
        # The shipped one last: of two that are equally new it is taken.
        folders = [place / name for place in (installed_dir(), shipped_dir())]
        found = sorted(
            [(_version(folder), folder) for folder in folders if _is_bundle(folder)], key=itemgetter(0)
        )
    if version:
        found = [(its, folder) for its, folder in found if str(its) == version]
    if found:
        return found[-1][1].resolve()
    raise ValueError(
        f"bundle must be a folder with configs/metadata.json or one of {_names()}, got "
        f"{str(name_or_path)!r}. `siamed bundle get NAME` downloads others."
    )


def shipped_bundles() -> list[str]:
    """Names of the bundles that this package ships."""
    return sorted(folder.name for folder in shipped_dir().iterdir() if _is_bundle(folder))


def _is_bundle(folder: Path) -> bool:
    return (folder / "configs" / "metadata.json").is_file()


def _version(folder: Path) -> Version:
    try:
        return Version(str(read_json(folder / "configs" / "metadata.json")["version"]))
    except (InvalidVersion, KeyError, TypeError, ValueError):
        return Version("0")


def _names() -> list[str]:
    folders = [
        p.parent.parent
        for place in (shipped_dir(), installed_dir())
        for p in place.glob("*/configs/metadata.json")
    ]
    return sorted({f"{folder.name}@{_version(folder)}" for folder in folders})


def bundle_parser(
    name_or_path: str | Path,
    config: str = "inference",
    trusted: bool = False,
    overlays: Sequence[str] = (),
) -> ConfigParser:
    """A bundle's configuration, not yet instantiated, with ``bundle_root`` set to its folder.

    Args:
        name_or_path: as for :func:`bundle_path`.
        config: name of the configuration without its ending; YAML is preferred to JSON.
        trusted: that the configuration may name any code, as one may that is being run by its owner.
        overlays: names of further configurations of the bundle that replace entries, in this order.

    Raises:
        FileNotFoundError: if the bundle has no such configuration.
        ValueError: if it is not a bundle of this package and could run code.
    """
    root = bundle_path(name_or_path)
    files = config_files(root, (config, *overlays))
    if not trusted:
        for file in files:
            check_file(root, file)
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    return parser


def config_files(name_or_path: str | Path, names: Sequence[str]) -> list[Path]:
    """Files of a bundle's configurations.

    Args:
        name_or_path: as for :func:`bundle_path`.
        names: without their endings; YAML is preferred to JSON.

    Raises:
        FileNotFoundError: if the bundle lacks one.
    """
    root = bundle_path(name_or_path)
    found = {name: _config_file(root, name) for name in names}
    for name, file in found.items():
        if file is None:
            raise FileNotFoundError(
                f"config must be a file of the bundle {root.name}: no configs/{name}.yaml or .json"
            )
    return [file for file in found.values() if file is not None]


def bundle_entry(bundle: str | Path, entry: str, config: str = "train") -> Any:
    """An entry of a bundle's configuration, instantiated, for another configuration of it that needs the
    same.

    Args:
        bundle: as for :func:`bundle_path`.
        entry: its name, such as ``network_def``.
        config: name of the configuration without its ending.
    """
    return bundle_parser(bundle, config).get_parsed_content(entry)


def _config_file(root: Path, config: str) -> Path | None:
    candidates = (root / "configs" / f"{config}{suffix}" for suffix in _SUFFIXES)
    return next((file for file in candidates if file.is_file()), None)


def bundle_hparams(bundle: str | Path) -> dict[str, Any]:
    """The hyper-parameters of a bundle: the block ``hparams`` of its train configuration, else of inference.

    Raises:
        ValueError: if neither configuration has the block.
    """
    root = bundle_path(bundle)
    for config in ("train", "inference"):
        if _config_file(root, config) is not None:
            # Of the whole file nothing but the block is evaluated, by MONAI's own runs of the bundle too.
            parser = bundle_parser(root, config, trusted=True)
            if "hparams" in parser:
                if is_foreign(root):
                    check_hparams(root, parser["hparams"])
                    # A reference would lead to what was not looked at.
                    parser = ConfigParser({"hparams": parser["hparams"]})
                return dict(parser.get_parsed_content("hparams"))
    raise ValueError(
        f"bundle must have a block 'hparams' in configs/train.yaml or inference.yaml, {root.name} has none"
    )


def bundle_info(bundle: str | Path) -> dict[str, Any]:
    """Name, version, SHA-256 of the weights, and agreement with readers (``figures.kappa`` of the metadata).

    Raises:
        FileNotFoundError: if the bundle has no weights.
    """
    root = bundle_path(bundle)
    metadata = read_json(root / "configs" / "metadata.json")
    return {
        "name": root.name,
        "version": str(metadata["version"]),
        "sha256": sha256_of(_weights_file(root)),
        "agreement": dict(metadata.get("figures", {}).get("kappa", {})),
    }


def _weights_file(root: Path) -> Path:
    file = root / "models" / "model.pt"
    if not file.is_file():
        raise FileNotFoundError(
            f"bundle {root.name} has no weights (models/model.pt). Train it, or download the bundle."
        )
    return file


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """A network's state dictionary from weights or from a checkpoint of a training, floats in single
    precision.

    Args:
        path: a plain state dictionary, or a dictionary that holds one under ``network``, ``model`` or
            ``state_dict``.

    Raises:
        ValueError: if the file holds neither.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping):
        content = next(
            (content[key] for key in _NETWORK_KEYS if isinstance(content.get(key), Mapping)), content
        )
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ValueError(f"path must hold a state dictionary of tensors, got {Path(path).name}")
    return {name: value.float() if value.is_floating_point() else value for name, value in content.items()}


def load_network(bundle: str | Path, device: str | torch.device = "cpu", trusted: bool = False) -> nn.Module:
    """The network of a bundle with its weights, in single precision and evaluation mode.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.
        device: where the network is put.
        trusted: that its configurations may name any code, see :func:`bundle_parser`.

    Raises:
        ValueError: if there is no such bundle, no network in its configurations, or it could run code.
        FileNotFoundError: if it has no weights.
        RuntimeError: if weights and network do not fit each other.
    """
    root = bundle_path(bundle)
    for config in ("inference", "train"):
        if _config_file(root, config) is not None:
            parser = bundle_parser(root, config, trusted)
            if "network_def" in parser:
                with trusting(root if trusted else None):
                    network = parser.get_parsed_content("network_def")
                network.load_state_dict(load_weights(_weights_file(root)), strict=True)
                return network.float().to(device).eval()
    raise ValueError(
        f"bundle must have 'network_def' in configs/inference.yaml or train.yaml, {root.name} has none"
    )


def run_network(run: str | Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The network of a training as its last checkpoint has it, in evaluation mode, and its hyper-parameters.

    Args:
        run: folder of the training: ``run.json`` and ``latest.pt``.
        device: where the network is put.

    Raises:
        FileNotFoundError: if the folder holds no training, or no checkpoint.
        ValueError: if its configuration has no network.
    """
    record = read_json(Path(run) / "run.json")
    if record is None or record.get("config") is None:
        raise FileNotFoundError(f"run must be the folder of a training, {Path(run).name} has no run.json")
    parser = ConfigParser()
    parser.update(record["config"])
    if "network_def" not in parser:
        raise ValueError(f"run must be of a bundle with 'network_def', {record['name']} has none")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_weights(Path(run) / "latest.pt"), strict=True)
    return network.float().to(device).eval(), dict(record["hparams"])


def find_root(name: str) -> str:
    """The default of ``bundle_root``: the folder of the configuration that is being run, else the shipped
    bundle.

    ``python -m monai.bundle run --config_file bundles/NAME/configs/train.yaml`` then works from any working
    directory. ``--bundle_root`` on the command line replaces the call.

    Args:
        name: name of the bundle.

    Raises:
        ValueError: if no configuration is being run and no bundle of that name is shipped.
    """
    for frame_self in _callers():
        if isinstance(frame_self, ConfigWorkflow):
            root = Path(frame_self.config_root_path).resolve().parent
            # A configuration file copied elsewhere is run with the shipped bundle's weights and documents.
            if (root / "configs" / "metadata.json").is_file():
                return str(root)
    return str(bundle_path(name))


def running_config() -> dict[str, Any] | None:
    """The configuration that is being instantiated, overrides merged, as plain data; None outside of one.

    MONAI hands a component nothing but its arguments, so the parser is found on the call stack [D-0033].
    """
    for frame_self in _callers():
        if isinstance(frame_self, ConfigParser):
            config = {key: value for key, value in frame_self.get().items() if key != "_meta_"}
            return json.loads(json.dumps(config, default=str))
    return None


def _callers() -> Iterator[Any]:
    frame = inspect.currentframe()
    while frame is not None:
        if "self" in frame.f_locals:
            yield frame.f_locals["self"]
        frame = frame.f_back


def dataset_dir(subset: str = "") -> str:
    """The default of ``dataset_dir``: the folder ``subset`` of ``$SIAMED_DATA``.

    Args:
        subset: folder below ``$SIAMED_DATA``.

    Raises:
        ValueError: if the variable is not set, or there is no such folder.
    """
    root = os.environ.get("SIAMED_DATA")
    if not root:
        raise ValueError(
            "dataset_dir must be given: pass --dataset_dir FOLDER, or set the variable SIAMED_DATA"
        )
    folder = Path(root) / subset
    if not folder.is_dir():
        raise ValueError(
            f"dataset_dir must be a folder: $SIAMED_DATA has no folder {subset!r}; pass --dataset_dir FOLDER"
        )
    return str(folder.resolve())

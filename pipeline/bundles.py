"""MONAI bundles as siamed ships and trains them: where they lie, how their weights are read and written.

A bundle is a folder ``LICENSE, configs/, docs/, models/`` without Python; ``docs/bundles.md`` says how its
configurations are laid out. ``models/model.pt`` is a plain state dictionary in half precision, read with
``weights_only=True`` and cast back to single precision.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

from .experiments.files import read_json, replace_file, sha256_of

__all__ = [
    "MAX_WEIGHTS_MB",
    "build_bundle",
    "bundle_hparams",
    "bundle_info",
    "bundle_parser",
    "bundle_path",
    "dataset_dir",
    "export_weights",
    "find_root",
    "load_network",
    "load_weights",
    "run_network",
    "running_config",
    "write_json_twins",
]

log = logging.getLogger(__name__)

MAX_WEIGHTS_MB = 25.0  # the model zoo takes no larger file
_SUFFIXES = (".yaml", ".yml", ".json")
_NETWORK_KEYS = ("network", "model", "state_dict")


def bundle_path(name_or_path: str | Path) -> Path:
    """The folder of a bundle, given the folder itself or the name of a shipped bundle.

    Args:
        name_or_path: a folder that holds ``configs/metadata.json``, or a name such as
            ``spine_mr_disc_grading``.

    Returns:
        The bundle's absolute folder.

    Raises:
        ValueError: if there is no such bundle; the message lists the shipped ones.
    """
    if (Path(name_or_path) / "configs" / "metadata.json").is_file():
        return Path(name_or_path).resolve()
    shipped = Path(str(files("siamed.bundles")))
    name = str(name_or_path)
    if Path(name).name == name and (shipped / name / "configs" / "metadata.json").is_file():
        return (shipped / name).resolve()
    names = sorted(p.parent.parent.name for p in shipped.glob("*/configs/metadata.json"))
    raise ValueError(
        f"bundle must be a folder with configs/metadata.json or one of {names}, got {str(name_or_path)!r}"
    )


def bundle_parser(name_or_path: str | Path, config: str = "inference") -> ConfigParser:
    """A bundle's configuration, not yet instantiated, with ``bundle_root`` set to its folder.

    Args:
        name_or_path: as for :func:`bundle_path`.
        config: name of the configuration without its ending; YAML is preferred to JSON.

    Raises:
        FileNotFoundError: if the bundle has no such configuration.
    """
    root = bundle_path(name_or_path)
    file = _config_file(root, config)
    if file is None:
        raise FileNotFoundError(
            f"config must be a file of the bundle {root.name}: no configs/{config}.yaml or .json"
        )
    parser = ConfigParser()
    parser.read_config(str(file))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    return parser


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
            parser = bundle_parser(root, config)
            if "hparams" in parser:
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


def load_network(bundle: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a bundle with its weights, in single precision and evaluation mode.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.
        device: where the network is put.

    Raises:
        ValueError: if there is no such bundle, or no network in its configurations.
        FileNotFoundError: if it has no weights.
        RuntimeError: if weights and network do not fit each other.
    """
    root = bundle_path(bundle)
    for config in ("inference", "train"):
        if _config_file(root, config) is not None:
            parser = bundle_parser(root, config)
            if "network_def" in parser:
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


def _half(value: torch.Tensor) -> torch.Tensor:
    half = value.half()
    # A running variance can exceed what half precision holds.
    return half if bool(torch.isfinite(half).all()) else value.float()


def export_weights(
    source: Mapping[str, torch.Tensor] | str | Path, path: str | Path, max_mb: float = MAX_WEIGHTS_MB
) -> Path:
    """Write weights as a bundle ships them: a plain state dictionary, floats in half precision.

    Args:
        source: a state dictionary, or a checkpoint's path as for :func:`load_weights`.
        path: the file to write, usually ``models/model.pt``; whole or not at all.
        max_mb: largest size accepted, in units of 10**6 bytes.

    Raises:
        ValueError: if the weights are not finite, or too large.
    """
    weights = dict(source) if isinstance(source, Mapping) else load_weights(source)
    wrong = [
        name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if wrong:
        raise ValueError(f"source must hold finite weights, {wrong[0]} (of {len(wrong)}) does not")
    half = {
        name: (_half(value) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in weights.items()
    }

    def check(file: Path) -> None:
        size_mb = file.stat().st_size / 1e6
        if size_mb > max_mb:
            raise ValueError(f"source must give at most {max_mb} MB in half precision, got {size_mb:.1f} MB")

    return replace_file(path, lambda beside: torch.save(half, beside), check)


def write_json_twins(bundle: str | Path) -> list[Path]:
    """Write each YAML configuration as JSON beside it: ``monai.bundle.load`` reads no YAML.

    Returns:
        The files written.
    """
    written = []
    for file in sorted((bundle_path(bundle) / "configs").iterdir()):
        if file.suffix in (".yaml", ".yml"):
            content = ConfigParser.load_config_file(str(file))
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            written.append(replace_file(file.with_suffix(".json"), _writer(text)))
    return written


def _writer(text: str) -> Any:
    return lambda beside: beside.write_text(text, encoding="utf-8")


def build_bundle(
    source: str | Path, weights: str | Path, folder: str | Path, hparams: Mapping[str, Any] | None = None
) -> Path:
    """A whole bundle from a bundle's folder and the checkpoint of a training.

    Args:
        source: the bundle whose LICENSE, configurations and documents are taken.
        weights: checkpoint or state dictionary; its network becomes ``models/model.pt``.
        folder: where the bundle is written; an existing one is replaced file by file.
        hparams: of the training, overrides included: they become those of the bundle's train configuration,
            without which its network would not fit its weights. None leaves the source's.

    Returns:
        The folder.
    """
    root, folder = bundle_path(source), Path(folder)
    for part in ("LICENSE", "configs", "docs", "large_files.yml"):
        if (root / part).is_dir():
            shutil.copytree(root / part, folder / part, dirs_exist_ok=True)
        elif (root / part).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / part, folder / part)
    if hparams is not None:
        _set_hparams(folder / "configs" / "train.yaml", hparams)
    export_weights(weights, folder / "models" / "model.pt")
    write_json_twins(folder)
    return folder


_HPARAM = re.compile(r"^(?P<indent> +)(?P<name>\w+):(?P<space> *)(?P<value>[^#]*?)(?P<rest> *(#.*)?)$")


def _set_hparams(file: Path, hparams: Mapping[str, Any]) -> None:
    """Change values of the block ``hparams`` of a YAML file in place; comments, order and what is computed
    stay, new names are added."""
    lines, wanted = file.read_text(encoding="utf-8").splitlines(), _plain(dict(hparams))
    if "hparams:" not in lines:
        return
    missing, last = dict(wanted), None
    above: list[tuple[int, Any]] = [(0, wanted)]  # indentation of an open mapping, and what belongs in it
    for i in range(lines.index("hparams:") + 1, len(lines)):
        if lines[i] and lines[i][0] not in " #":
            break
        match = _HPARAM.match(lines[i])
        if match is None:
            continue
        indent, name = len(match["indent"]), match["name"]
        while above[-1][0] >= indent:
            above.pop()
        here = above[-1][1]
        if len(above) == 1:
            missing.pop(name, None)
        last = i
        value = here.get(name) if isinstance(here, dict) else None
        if not match["value"]:
            above.append((indent, value))
            continue
        now = yaml.safe_load(match["value"])
        computed = isinstance(now, str) and now[:1] in ("$", "@", "%")
        if isinstance(here, dict) and name in here and now != value and not computed:
            lines[i] = f"{match['indent']}{name}:{match['space']}{json.dumps(value)}{match['rest']}"
    if last is not None:
        lines[last + 1 : last + 1] = [f"  {name}: {json.dumps(value)}" for name, value in missing.items()]
    replace_file(file, _writer("\n".join(lines) + "\n"))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


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

"""Bundles written: weights in half precision, JSON twins of the configurations, a whole bundle of a training.

Reading them is :mod:`siamed.pipeline.bundles`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser

from .bundles import bundle_path, load_network, load_weights
from .experiments.files import read_json, replace_file, sha256_of, write_json
from .experiments.record import published_run
from .sharing.input_format import InputFormat, only_tensor

__all__ = ["MAX_WEIGHTS_MB", "build_bundle", "export_weights", "write_json_twins"]

MAX_WEIGHTS_MB = 25.0  # the model zoo takes no larger file


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
    source: str | Path,
    weights: str | Path,
    folder: str | Path,
    hparams: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    input_shape: Sequence[int] | None = None,
    blocks: Mapping[str, Any] | None = None,
) -> Path:
    """A whole bundle from a bundle's folder and the checkpoint of a training.

    Args:
        source: the bundle whose LICENSE, configurations and documents are taken.
        weights: checkpoint or state dictionary; its network becomes ``models/model.pt``.
        folder: where the bundle is written; an existing one is replaced file by file.
        hparams: of the training, overrides included: they become those of the bundle's train configuration,
            without which its network would not fit its weights. None leaves the source's.
        run: content of the training's ``run.json``; what may be published of it goes into the metadata.
        input_shape: of one input ``(C, ...)`` in the training, which hyper-parameters may have changed:
            becomes that of the metadata where that is not free. None leaves the source's.
        blocks: entries of the train configuration that an overlay had replaced, by name.

    The metadata then speaks of these weights: their hash, their training, a version of their own (that of the
    source with ``+`` and the first digits of the hash), and none of the source's figures. Nor is the source's
    calibration taken, which was fitted to predictions of other weights.

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
    for name, value in (blocks or {}).items():
        _set_block(folder / "configs" / "train.yaml", name, value)
    _describe_weights(folder, export_weights(weights, folder / "models" / "model.pt"), run)
    write_json_twins(folder)
    if input_shape is not None:
        _describe_network(folder, input_shape)
    return folder


def _describe_weights(folder: Path, weights: Path, run: Mapping[str, Any] | None) -> None:
    file, digest = folder / "configs" / "metadata.json", sha256_of(weights)
    metadata = read_json(file)
    for key in ("figures", "training", "exports"):
        metadata.pop(key, None)
    (folder / "configs" / "calibration.json").unlink(missing_ok=True)
    version = f"{metadata['version'].split('+')[0]}+{digest[:8]}"
    metadata["changelog"] = {version: "Weights of a training of its own.", **metadata["changelog"]}
    metadata |= {"version": version, "weights_sha256": digest}
    if run is not None:
        metadata["training"] = published_run(run)
    write_json(file, metadata)


def _describe_network(folder: Path, input_shape: Sequence[int]) -> None:
    """Shape of the input and channels of the output as the trained network has them."""
    file = folder / "configs" / "metadata.json"
    metadata = read_json(file)
    image, pred = only_tensor(metadata, "inputs"), only_tensor(metadata, "outputs")
    if len(input_shape) != 1 + len(image["spatial_shape"]):
        return  # trained on slabs, used on volumes: the one says nothing about the other
    sizes = zip(image["spatial_shape"], input_shape[1:], strict=True)
    image["spatial_shape"] = [said if isinstance(said, str) else int(real) for said, real in sizes]
    image["num_channels"] = int(input_shape[0])
    with torch.no_grad():
        output = load_network(folder, trusted=True)(
            torch.zeros(2, *InputFormat.of_metadata(metadata).example_shape())
        )
    pred["num_channels"] = int(output.shape[1])
    for tensor in (image, pred):
        if len(tensor.get("channel_def", {})) not in (0, tensor["num_channels"]):
            del tensor["channel_def"]  # what the channels are is not known from here
    write_json(file, metadata)


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


def _set_block(file: Path, name: str, value: Any) -> None:
    """Replace a top-level entry of a YAML file if it is another now; the rest stays as it was written."""
    if ConfigParser.load_config_file(str(file))[name] == value:
        return
    lines = file.read_text(encoding="utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith(f"{name}:"))
    behind = (place for place in range(first + 1, len(lines)) if lines[place][:1] not in ("", " ", "#"))
    end = next(behind, len(lines))
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):  # the next entry's own
        end -= 1
    written = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=1000)
    lines[first:end] = written.splitlines()
    replace_file(file, _writer("\n".join(lines) + "\n"))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))

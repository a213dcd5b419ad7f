"""Hand the convolutions of a pretrained network to another one, if they are the same convolutions: its
encoder, or its encoder and decoder.

A pretraining leaves a passport with its weights: the hyper-parameters that shape the trunk and what it sees,
in ``run.json`` of a run or the bundle's train configuration. A network takes the weights only if its own
passport agrees; otherwise loading fails and says what differs. The input's height and width may differ, as
vertebral bodies and discs do [jamaludin2017ssl, Sec. 4.2], or a kidney's region and a whole scan; pixels must
have one size.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from siamed.networks.dense_encoder import DenseEncoder
from siamed.networks.unet import UNetEncoder
from siamed.networks.vgg_m import VGGMTrunk
from siamed.pipeline.bundles import bundle_hparams, bundle_path, load_weights
from siamed.pipeline.datasets.splits import fold_parts, held_out
from siamed.pipeline.experiments.files import read_json, sha256_of
from siamed.pipeline.experiments.record import RUN_FILE, published_run

__all__ = [
    "TransferReport",
    "check_left_out",
    "describe_source",
    "load_trunk",
    "passport",
    "passport_differences",
    "with_pretrained_trunk",
]

log = logging.getLogger(__name__)

_TRUNK = ("slices", "width", "batch_norm", "conv2_stride", "volumetric", "subtract_mean")
_DEFAULTS = {"volumetric": False, "subtract_mean": False}
_INTENSITIES = (
    "spacing_mm",
    "window_hu",
    "surroundings_mm",
    "surroundings_floor",
    "window_top",
    "bright",
    "mean_std",
)
_DENSE = ("width", "growth", "layers", "group_size", *_INTENSITIES)
_UNET = ("spatial_dims", "in_channels", "features", "group_size", *_INTENSITIES)
_TRUNK_PART, _DECODER_PART = "trunk", "decoder"


@dataclass(frozen=True)
class TransferReport:
    """What was handed over.

    Args:
        source: name of the pretraining: its run, or its bundle.
        loaded: names of the tensors taken.
        own: names of the network's tensors that stayed as they were initialized.
        left: names of the source's tensors that were not asked for.
    """

    source: str
    loaded: tuple[str, ...]
    own: tuple[str, ...]
    left: tuple[str, ...]


def passport(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """What two networks must share to share convolutions: the trunk's shape and the size of a pixel.

    Args:
        hparams: of a bundle that has a VGG-M trunk, a densely connected one (which has ``growth``), or that
            of a U-Net (which has ``spatial_dims``).

    Returns:
        Of VGG-M the trunk's arguments, whether its input is centered, and ``pixel``: pixels of a volume that
        one pixel of the input covers (rows, columns). With a single slice 3-D kernels are 2-D ones, and
        ``volumetric`` says nothing. Of the dense encoder and the U-Net's their arguments, the spacing and the
        window of intensities.
    """
    if "growth" in hparams:
        return {"trunk": "dense encoder", **{name: hparams.get(name) for name in _DENSE}}
    if "spatial_dims" in hparams:
        return {"trunk": "U-Net encoder", **{name: hparams.get(name) for name in _UNET}}
    found: dict[str, Any] = {"trunk": "VGG-M"}
    found |= {name: hparams.get(name, _DEFAULTS.get(name)) for name in _TRUNK}
    if found["slices"] == 1:
        found["volumetric"] = False
    sizes = zip(hparams["field_px"], hparams["input_size"], strict=True)
    found["pixel"] = [round(field / size, 4) for field, size in sizes]
    return found


def passport_differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """In what the passports of two networks differ, an entry each; none if one can take the other's trunk.

    Args:
        here: hyper-parameters of the network that takes the trunk.
        there: those of the one that gives it.
    """
    wanted, given = passport(here), passport(there)
    return [
        f"{key}: {given.get(key)} there, {wanted[key]} here"
        for key in wanted
        if given.get(key) != wanted[key]
    ]


def load_trunk(
    network: nn.Module, hparams: Mapping[str, Any], source: str | Path, decoder: bool = False
) -> TransferReport:
    """Load the trunk of a pretraining into a network, and its decoder if asked.

    Args:
        network: has a ``trunk``, a :class:`~siamed.networks.vgg_m.VGGMTrunk`, a
            :class:`~siamed.networks.dense_encoder.DenseEncoder` or a
            :class:`~siamed.networks.unet.UNetEncoder`; changed in place.
        hparams: the network's own.
        source: folder of a finished training (``run.json``, ``latest.pt``), or name or folder of a bundle.
        decoder: take ``decoder`` too.

    Raises:
        ValueError: if the passports differ, saying in what, or the source has no trunk, or no decoder that
            fits.
        FileNotFoundError: if the source has no weights.
    """
    name, its_hparams, file = _source(source)
    differing = passport_differences(hparams, its_hparams)
    if differing:
        raise ValueError(
            f"pretrained must have the network's own trunk, {name} differs in {'; '.join(differing)}"
        )
    weights = load_weights(file)
    parts: dict[str, nn.Module] = {_TRUNK_PART: _whole_trunk(network)}
    parts |= {_DECODER_PART: network.get_submodule(_DECODER_PART)} if decoder else {}
    loaded = [key for part, module in parts.items() for key in _load_part(part, module, weights, name)]
    taken = tuple(f"{part}." for part in parts)
    own = tuple(key for key in network.state_dict() if not key.startswith(taken))
    report = TransferReport(name, tuple(loaded), own, tuple(key for key in weights if key not in loaded))
    log.info(
        "%s: %d tensors loaded, of %s; %d others left there, %d of the network's own start anew",
        name,
        len(report.loaded),
        ", ".join(_layers(report.loaded)),
        len(report.left),
        len(report.own),
    )
    return report


def _layers(tensors: Sequence[str]) -> list[str]:
    """Layers that tensors belong to, a name each: two parts of it, and the number in a list behind them."""
    parts = [name.split(".") for name in tensors]
    return list(dict.fromkeys(".".join(p[: 3 if len(p) > 3 and p[2].isdigit() else 2]) for p in parts))


def _load_part(part: str, module: nn.Module, weights: Mapping[str, Any], name: str) -> list[str]:
    found = {key: value for key, value in weights.items() if key.startswith(f"{part}.")}
    if not found:
        raise ValueError(f"pretrained must hold a {part}, {name} has no weights named {part}.*")
    try:
        module.load_state_dict({key.removeprefix(f"{part}."): value for key, value in found.items()})
    except RuntimeError as error:
        raise ValueError(f"pretrained must have the network's own {part}, {name} differs: {error}") from error
    return list(found)


def with_pretrained_trunk(
    network: nn.Module,
    hparams: Mapping[str, Any],
    pretrained: str | Path | None,
    freeze: bool,
    decoder: bool = False,
) -> nn.Module:
    """The network with a pretrained trunk, for a configuration.

    Args:
        network: see :func:`load_trunk`.
        hparams: see there.
        pretrained: source of the trunk; None leaves the network as it was initialized.
        freeze: keep the trunk as it is, batch statistics included, and train the rest alone.
        decoder: take the decoder too.
    """
    if pretrained is not None:
        load_trunk(network, hparams, pretrained, decoder)
    if freeze:
        _whole_trunk(network).freeze()
    return network


def check_left_out(run: Path, split: str | Path, fold: int, what: str) -> None:
    """A finished run may serve for a fold only if it has not seen that fold's subjects.

    It has not if it left out the same fold of the same split; or if its own split, found where it was with
    the content it had, trained on none of them.

    Args:
        run: folder of the run.
        split: file of folds.
        fold: the one that must not have been seen.
        what: the argument's name, for the message.

    Raises:
        ValueError: if the run is not finished, or may have seen one of the subjects.
    """
    record = read_json(run / "run.json")
    if record is None or record["status"] != "FINISHED":
        raise ValueError(f"{what} must be finished trainings, {run} is none")
    recorded, config = record["data"].get("split", {}).get("sha256"), record["config"] or {}
    own, left_out = Path(str(config.get("split"))), config.get("fold")
    if recorded == sha256_of(split):
        found = "" if left_out == fold else f"left out fold {left_out} of the same split"
    elif own.is_file() and sha256_of(own) == recorded:
        watched = {*held_out(split, fold), *fold_parts(split, fold, "validation")}
        seen = sorted(watched & set(fold_parts(own, left_out, "training")))
        found = f"trained on its subject {seen[0]}" if seen else ""
    else:
        found = f"left out fold {left_out} of another split"
    if found:
        raise ValueError(f"{what} must have left out fold {fold} of {Path(split).name}, {run} {found}")


def describe_source(pretrained: str | Path) -> dict[str, Any]:
    """What a training says of the weights it starts from, hashes included, back to the first one.

    Args:
        pretrained: see :func:`load_trunk`.

    Returns:
        ``bundle`` and ``version`` where it is one; ``weights_sha256``; and what is known of its training, as
        :func:`~siamed.pipeline.experiments.record.published_run` tells it.
    """
    record = read_json(Path(pretrained) / RUN_FILE) if Path(pretrained).is_dir() else None
    if record is not None:
        return {**published_run(record), "weights_sha256": sha256_of(Path(pretrained) / "latest.pt")}
    root = bundle_path(pretrained)
    metadata = read_json(root / "configs" / "metadata.json")
    return {
        "bundle": root.name,
        "version": metadata["version"],
        "weights_sha256": sha256_of(root / "models" / "model.pt"),
        **metadata.get("training", {}),
    }


def _whole_trunk(network: nn.Module) -> VGGMTrunk | DenseEncoder | UNetEncoder:
    trunk = network.get_submodule(_TRUNK_PART)
    if isinstance(trunk, (DenseEncoder, UNetEncoder)):
        return trunk
    if not isinstance(trunk, VGGMTrunk) or not trunk.is_whole:
        raise ValueError(
            "branch_point must be conv5, fc6 or fc7 for a pretrained or frozen trunk: it is Conv1 to Conv5"
        )
    return trunk


def _source(source: str | Path) -> tuple[str, dict[str, Any], Path]:
    record = read_json(Path(source) / "run.json") if Path(source).is_dir() else None
    if record is not None:
        return record["name"], record["hparams"], Path(source) / "latest.pt"
    root = bundle_path(source)
    return root.name, bundle_hparams(root), root / "models" / "model.pt"

"""Pretrain on a folder of scans by a task's name: a thin wrapper over a bundle's train configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.experiments.train_bundle import check_entries, train_bundle

from .figures import draw_items

__all__ = ["Pretraining", "find_pretexts", "look", "pretrain"]

_ITEMS = 6


@dataclass(frozen=True)
class Pretraining:
    """What is to be pretrained.

    Args:
        bundle: name or folder of a bundle whose train configuration has a block ``pretext``.
        pretext: name of the task.
        images: folder of scans, see :mod:`siamed.pipeline.datasets.unlabelled`.
        overrides: entries of the configuration that take another value.
    """

    bundle: str
    pretext: str
    images: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def overlays(self) -> tuple[str, ...]:
        """Configurations of the bundle that make the task.

        Raises:
            ValueError: if there is no such task; the message lists those there are.
        """
        known = find_pretexts(self.bundle)
        if self.pretext not in known:
            raise ValueError(f"pretext must be one of {sorted(known)}, got {self.pretext!r}")
        return known[self.pretext]

    def check(self) -> None:
        """See that there is such a task and what is overridden, before any scan is read.

        Raises:
            ValueError: naming what there is not.
        """
        check_entries("KEY=VALUE", self.bundle, self.overrides, self.overlays)


def find_pretexts(bundle: str | Path) -> dict[str, tuple[str, ...]]:
    """The tasks of a bundle: name -> the overlays that make it, none for that of the train configuration.

    A configuration makes a task if it has a block ``pretext`` with a ``name``; nothing else lists them. The
    train configuration of a bundle that was trained holds the task's block itself, beside the overlay that
    it came from.

    Raises:
        ValueError: if two overlays make a task of one name.
    """
    found: dict[str, tuple[str, ...]] = {}
    files = (bundle_path(bundle) / "configs").glob("*.yaml")
    for file in sorted(files, key=lambda file: (file.stem == "train", file.name)):
        block = ConfigParser.load_config_file(str(file)).get("pretext")
        if not isinstance(block, Mapping) or "name" not in block:
            continue
        name = block["name"]
        if file.stem != "train" and name in found:
            raise ValueError(
                f"name of a pretext must be its own, {name!r} is that of {found[name][0]}.yaml and of "
                f"{file.name}: change one"
            )
        found[name] = () if file.stem == "train" else (file.stem,)
    return found


def look(wanted: Pretraining, picture: Path) -> Path:
    """Draw inputs and free labels of some items, before anything is trained.

    Args:
        wanted: the task and the scans.
        picture: the PNG file to write.

    Returns:
        The file.
    """
    parser = _configuration(wanted)
    dataset = parser.get_parsed_content("validate#dataset")
    items = [dataset[place] for place in range(min(_ITEMS, len(dataset)))]
    figure = draw_items(parser.get_parsed_content("pretext#picture"), items)
    picture.parent.mkdir(parents=True, exist_ok=True)
    return replace_file(picture, partial(figure.savefig, dpi=120, format="png"))


def pretrain(wanted: Pretraining, out: Path) -> Path:
    """Train, or go on with a training that was stopped.

    Args:
        wanted: the task and the scans.
        out: folder of the run.

    Returns:
        The bundle with the trained weights.
    """
    name = str(_configuration(wanted)["name"])
    train_bundle(wanted.bundle, {**wanted.overrides, **_own(wanted), "output_dir": out}, wanted.overlays)
    return out / "bundle" / name


def _configuration(wanted: Pretraining) -> ConfigParser:
    """The task's configuration with what is overridden, not yet instantiated."""
    parser = check_entries("KEY=VALUE", wanted.bundle, wanted.overrides, wanted.overlays)
    for name, value in {**wanted.overrides, **_own(wanted)}.items():
        parser[name] = value
    return parser


def _own(wanted: Pretraining) -> dict[str, str]:
    return {"dataset_dir": str(wanted.images)}

"""Run a bundle's train configuration by MONAI's engine, as the command line runs it, with entries changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser

from siamed.pipeline.bundles import bundle_parser, bundle_path, config_files

__all__ = ["cause_of", "check_entries", "train_bundle"]


def check_entries(
    what: str, bundle: str | Path, names: Collection[str], overlays: Sequence[str] = ()
) -> ConfigParser:
    """The train configuration of a bundle, which must have these entries: MONAI takes an override of an
    unknown name without a word.

    Args:
        what: names them, for the message.
        bundle: name or folder.
        names: of entries, such as ``hparams#max_epochs``.
        overlays: names of further configurations of the bundle.

    Raises:
        ValueError: if it lacks one, or could run code (see :func:`~siamed.pipeline.bundles.bundle_parser`).
    """
    try:
        parser = bundle_parser(bundle, "train", overlays=overlays)
    except FileNotFoundError as error:
        raise ValueError(f"{what}#overlays must name configurations of the bundle: {error}") from error
    unknown = sorted(name for name in names if name not in parser)
    if unknown:
        raise ValueError(
            f"{what} must name entries of the train configuration of {bundle_path(bundle).name}, it has no "
            f"{unknown[0]!r}"
        )
    return parser


def train_bundle(bundle: str | Path, overrides: Mapping[str, Any], overlays: Sequence[str] = ()) -> None:
    """Train, or go on with a training that was stopped.

    Args:
        bundle: name or folder; :func:`check_entries` refuses one that could run code, MONAI does not.
        overrides: entries that take another value; ``output_dir`` is the folder of the run.
        overlays: names of further configurations of the bundle.

    Raises:
        RuntimeError: MONAI's, around what went wrong, see :func:`cause_of`.
    """
    files = config_files(bundle, ("train", *overlays))
    values = {name: _said(value) for name, value in overrides.items()}
    monai.bundle.run(config_file=[str(file) for file in files], **values)


def cause_of(error: BaseException) -> BaseException:
    """What went wrong, under the errors by which MONAI says where it did."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _said(value: Any) -> Any:
    """A value as MONAI takes it: it ignores an override that is None, and knows no paths."""
    if value is None:
        return "$None"
    return str(value) if isinstance(value, Path) else value

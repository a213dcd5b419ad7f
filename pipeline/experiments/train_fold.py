"""Trainings of folds by a bundle's own configuration, as tracked runs that resume."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from siamed.pipeline.bundles import bundle_path

from .record import is_finished

__all__ = ["train_fold", "train_folds"]


def train_fold(bundle: str, fold: int, output_dir: Path, options: Sequence[str]) -> Path:
    """Train, or resume; a training that has all its epochs is not started again.

    Args:
        bundle: name or folder.
        fold: left out.
        output_dir: of the run.
        options: further words of MONAI's command line, such as ``--dataset_dir`` and a folder.

    Returns:
        The run's folder.
    """
    if not is_finished(output_dir):
        config = bundle_path(bundle) / "configs" / "train.yaml"
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
        command += ["--output_dir", str(output_dir), "--fold", str(fold), *options]
        subprocess.run(command, check=True)
    return output_dir


def train_folds(
    bundle: str, folds: Iterable[int], out: Path, options: Sequence[str]
) -> Iterator[tuple[int, Path]]:
    """Train some folds one after the other, tracked in one store unless the options name another.

    Args:
        bundle: see :func:`train_fold`.
        folds: left out in turn.
        out: folder of the runs, ``fold_0`` and so on; made where absent.
        options: see :func:`train_fold`.

    Returns:
        Of each fold its number and the run's folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    words = list(options)
    if "--tracking_uri" not in words:
        words += ["--tracking_uri", f"sqlite:///{out.resolve() / 'mlruns.db'}"]
    for fold in folds:
        yield fold, train_fold(bundle, fold, out / f"fold_{fold}", words)

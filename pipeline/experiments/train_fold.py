"""One fold's training by a bundle's own configuration, as a tracked run that resumes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from siamed.pipeline.bundles import bundle_path

from .files import read_json

__all__ = ["is_finished", "train_fold"]


def is_finished(run: Path) -> bool:
    """Whether a folder holds a training that has all its epochs."""
    record = read_json(run / "run.json")
    return record is not None and record["status"] == "FINISHED"


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

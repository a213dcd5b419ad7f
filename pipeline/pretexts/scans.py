"""The scans of a pretraining as it reads them, whatever they came as."""

from __future__ import annotations

import logging
from pathlib import Path

from siamed.pipeline.datasets.import_scans import import_scans
from siamed.pipeline.scans.discover import walk

__all__ = ["scans_folder"]

log = logging.getLogger(__name__)


def scans_folder(images: Path, out: Path) -> Path:
    """A folder of NIfTI files: the one given, or ``scans`` of the run's folder, into which DICOM is brought.

    Args:
        images: folder of scans.
        out: folder of the run.

    Raises:
        ValueError: if the folder holds no scan that can be read.
    """
    if not images.is_dir():
        raise ValueError(f"images must be a folder that exists, got {images.name!r}")
    if any(path.name.endswith((".nii", ".nii.gz")) for path in walk(images)):
        return images
    outcomes = import_scans(images, out / "scans")
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    for outcome in failed:
        log.warning("%s: %s", outcome.case_id, outcome.failure.reason if outcome.failure else "")
    if len(failed) == len(outcomes):
        raise ValueError(
            f"images must hold scans that can be read, none of the {len(outcomes)} found could be"
        )
    return out / "scans"

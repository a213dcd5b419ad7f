"""The scans of a pretraining as it reads them, whatever they came as."""

from __future__ import annotations

from pathlib import Path

from siamed.pipeline.datasets.import_scans import import_scans
from siamed.pipeline.scans.discover import inspect_files, walk

__all__ = ["scans_folder"]


def scans_folder(images: Path, out: Path) -> Path:
    """A folder of NIfTI files: the one given, or ``scans`` of the run's folder, into which all scans of the
    one given are brought if any is of another form.

    What could not be read is logged and stands in ``cases.csv`` there.

    Args:
        images: folder of scans.
        out: folder of the run.

    Raises:
        ValueError: if the folder holds no scan that can be read.
    """
    if not images.is_dir():
        raise ValueError(f"images must be a folder that exists, got {images.name!r}")
    files = walk(images)
    if any(_is_nifti(path) for path in files) and not any(_is_other_scan(path) for path in files):
        return images
    outcomes = import_scans(images, out / "scans")
    if all(outcome.failure is not None for outcome in outcomes):
        raise ValueError(
            f"images must hold scans to learn from, of {len(outcomes)} found none is one: "
            f"{out.name}/scans/cases.csv says why"
        )
    return out / "scans"


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))


def _is_other_scan(path: Path) -> bool:
    found = inspect_files([path])
    return bool(found.headers) or any(not _is_nifti(volume) for volume in found.volumes)

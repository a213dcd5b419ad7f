"""KiTS19 as its challenge hands it out: ``case_NNNNN/imaging.nii.gz`` and ``segmentation.nii.gz``.

Labels: 1 kidney, 2 tumor; a case is a patient. Both kidneys share a label: sides are told by
:mod:`siamed.transforms.split_kidneys`. [heller2019kits]
"""

from __future__ import annotations

import re
from pathlib import Path

from .manifest import Manifest, ScanRow

__all__ = ["is_kits19", "kits19_manifest"]

_CASE = re.compile(r"case_\d{5}")


def is_kits19(folder: str | Path) -> bool:
    """Whether a folder is laid out like KiTS19: folders ``case_NNNNN``."""
    root = Path(folder)
    return root.is_dir() and any(_CASE.fullmatch(path.name) for path in root.iterdir() if path.is_dir())


def kits19_manifest(folder: str | Path) -> Manifest:
    """Scans and masks of a KiTS19 folder.

    A case without an image (the challenge loads them separately) is left out; one without a mask is a case of
    the challenge's test set and has an empty ``label``.

    Raises:
        ValueError: if no case has an image.
    """
    root = Path(folder)
    rows = []
    for case in sorted(path for path in root.iterdir() if _CASE.fullmatch(path.name)):
        if not (case / "imaging.nii.gz").is_file():
            continue
        label = case / "segmentation.nii.gz"
        rows.append(
            ScanRow(
                case_id=case.name,
                subject_id=case.name,
                sequence="CT",
                image=f"{case.name}/imaging.nii.gz",
                label=f"{case.name}/segmentation.nii.gz" if label.is_file() else "",
            )
        )
    if not rows:
        raise ValueError(
            f"dataset_dir must hold case_NNNNN/imaging.nii.gz, {root.name!r} holds none: the challenge's "
            "images are loaded by its own script"
        )
    return Manifest(root, tuple(rows), {})

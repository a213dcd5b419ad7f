"""Scans with label maps in a folder, in either of two common layouts.

``NAME_image.nii.gz`` beside ``NAME_label.nii.gz``; or ``imagesTr/NAME.nii.gz`` (``images/``) with
``labelsTr/NAME.nii.gz`` (``labels/``), where the image may end in ``_0000`` as nnU-Net counts channels. NAME
is the case and, unless a table ``subjects.csv`` (``case_id``, ``subject_id``) says otherwise, the subject.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from .kits19 import is_kits19, kits19_manifest
from .manifest import Manifest, ScanRow

__all__ = ["image_label_manifest", "segmentation_manifest"]

_FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
_ENDINGS = (".nii.gz", ".nii")


def segmentation_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder of segmented scans, whichever of the known layouts it has.

    Raises:
        ValueError: if it has none, saying what was looked for.
    """
    return kits19_manifest(folder) if is_kits19(folder) else image_label_manifest(folder)


def image_label_manifest(folder: str | Path) -> Manifest:
    """Scans and label maps of a folder, see the module.

    Raises:
        ValueError: if no image is found, or ``subjects.csv`` lacks a case.
    """
    root = Path(folder)
    pairs = sorted(_pairs(root))
    if not pairs:
        raise ValueError(
            "dataset_dir must hold NAME_image.nii.gz with NAME_label.nii.gz, imagesTr/ with labelsTr/, "
            f"images/ with labels/, or case_NNNNN/imaging.nii.gz; {root.name!r} holds none of them"
        )
    subjects = _subjects(root)
    lacking = [name for name, _, _ in pairs if subjects is not None and name not in subjects]
    if lacking:
        raise ValueError(f"subjects.csv must name the subject of every case, it lacks {lacking[0]!r}")
    rows = [
        ScanRow(name, name if subjects is None else subjects[name], "", image, label)
        for name, image, label in pairs
    ]
    return Manifest(root, tuple(rows), {})


def _pairs(root: Path) -> Iterator[tuple[str, str, str]]:
    """Name, image and label below the folder; an empty label where there is none."""
    for ending in _ENDINGS:
        for path in root.glob(f"*_image{ending}"):
            name = path.name.removesuffix(f"_image{ending}")
            label = root / f"{name}_label{ending}"
            yield name, path.name, label.name if label.is_file() else ""
        for images, labels in _FOLDERS:
            for path in (root / images).glob(f"*{ending}"):
                name = path.name.removesuffix(ending).removesuffix("_0000")
                label = root / labels / f"{name}{ending}"
                yield name, f"{images}/{path.name}", f"{labels}/{label.name}" if label.is_file() else ""


def _subjects(root: Path) -> dict[str, str] | None:
    if not (root / "subjects.csv").is_file():
        return None
    with (root / "subjects.csv").open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: row["subject_id"] for row in csv.DictReader(file)}

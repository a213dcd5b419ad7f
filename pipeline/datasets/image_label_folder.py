"""Scans with label maps in a folder, in either of two common layouts.

``NAME_image.nii.gz`` beside ``NAME_label.nii.gz``; or ``imagesTr/NAME.nii.gz`` (``images/``) with
``labelsTr/NAME.nii.gz`` (``labels/``), where the image may end in ``_0000`` as nnU-Net counts channels. NAME
is the case; the subject is told by ``subjects.csv`` or by NAME, see
:mod:`~siamed.pipeline.datasets.subjects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .decathlon import decathlon_manifest, is_decathlon
from .kits19 import is_kits19, kits19_manifest
from .manifest import Manifest, ScanRow
from .subjects import subjects_of

__all__ = ["image_label_manifest", "is_image_label", "is_segmentation_folder", "segmentation_manifest"]

_FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
_ENDINGS = (".nii.gz", ".nii")


def segmentation_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder of segmented scans, whichever of the known layouts it has.

    KiTS19's, that of the Medical Segmentation Decathlon, and those of this module are tried in this order.

    Raises:
        ValueError: if it has none, saying what was looked for.
    """
    for is_one, manifest in _LAYOUTS:
        if is_one(folder):
            return manifest(folder)
    return image_label_manifest(folder)


def is_segmentation_folder(folder: str | Path) -> bool:
    """Whether :func:`segmentation_manifest` knows the layout of a folder."""
    return any(is_one(folder) for is_one, _ in _LAYOUTS)


def is_image_label(folder: str | Path) -> bool:
    """Whether a folder has one of the layouts of this module."""
    return any(_pairs(Path(folder)))


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
            "images/ with labels/, case_NNNNN/imaging.nii.gz, or dataset.json with a list 'training'; "
            f"{root.name!r} holds none of them"
        )
    subjects = subjects_of(root, [name for name, _, _ in pairs])
    rows = [ScanRow(name, subjects[name], "", image, label) for name, image, label in pairs]
    return Manifest(root, tuple(rows), {})


_LAYOUTS = (
    (is_kits19, kits19_manifest),
    (is_decathlon, decathlon_manifest),
    (is_image_label, image_label_manifest),
)


def _pairs(root: Path) -> Iterator[tuple[str, str, str]]:
    """Name, image and label below the folder; an empty label where there is none.

    Hidden files, as macOS leaves them beside others (``._NAME.nii.gz``), are none.
    """
    for ending in _ENDINGS:
        for path in root.glob(f"[!.]*_image{ending}"):
            name = path.name.removesuffix(f"_image{ending}")
            label = root / f"{name}_label{ending}"
            yield name, path.name, label.name if label.is_file() else ""
        for images, labels in _FOLDERS:
            for path in (root / images).glob(f"[!.]*{ending}"):
                name = path.name.removesuffix(ending).removesuffix("_0000")
                label = root / labels / f"{name}{ending}"
                yield name, f"{images}/{path.name}", f"{labels}/{label.name}" if label.is_file() else ""

"""Scans to pretrain on: those of a folder, with label maps or without.

A folder in a layout that :mod:`~siamed.pipeline.datasets.image_label_folder` knows gives the images of that
layout. Any other gives every NIfTI file in it and below, but for hidden ones and those that are named as
label maps (:func:`~siamed.pipeline.scans.discover.is_label_file`); the case is then the path below the folder
without its ending, ``site_a/scan_1``. ``subjects.csv`` says which cases are of one subject, see
:mod:`~siamed.pipeline.datasets.subjects`; without it the names of the files do, and two scans of one person
whose names do not say so may end on both sides. DICOM is brought into this form by
:mod:`~siamed.pipeline.datasets.import_scans`.
"""

from __future__ import annotations

from pathlib import Path

from siamed.pipeline.scans.discover import is_label_file, walk

from .image_label_folder import is_segmentation_folder, segmentation_manifest
from .manifest import Manifest, ScanRow
from .splits import fold_parts, watch_split
from .subjects import subjects_of

__all__ = ["unlabelled_items", "unlabelled_manifest"]

_PARTS = ("training", "validation")
_ENDINGS = (".nii", ".nii.gz")


def unlabelled_items(
    dataset_dir: str | Path, split: str | Path | None, fold: int | None, part: str
) -> list[dict[str, str]]:
    """Scans of one part of a folder.

    Args:
        dataset_dir: see the module.
        split: file of folds of subject ids; None holds every fifth subject out, see
            :func:`~siamed.pipeline.datasets.splits.watch_split`.
        fold: the fold left out; None trains on all and watches fold 0. Without a split it must be None.
        part: "training" or "validation", or "test" where the split has that.

    Returns:
        Items ``image`` (path), ``case_id`` and ``subject_id``.

    Raises:
        ValueError: for another part, a fold without a split, a folder without scans, or a split of which no
            subject is in the folder.
    """
    if split is None and part not in _PARTS:
        raise ValueError(f"part must be 'training' or 'validation' without a split, got {part!r}")
    if split is None and fold is not None:
        raise ValueError(f"fold must be null where there is no split, got {fold!r}: give a split file too")
    manifest = unlabelled_manifest(dataset_dir)
    if split is None:
        subjects = set(watch_split(row.subject_id for row in manifest.scans)[_PARTS.index(part)])
    else:
        subjects = set(fold_parts(split, fold, part))
    items = [
        {"image": str(manifest.root / row.image), "case_id": row.case_id, "subject_id": row.subject_id}
        for row in manifest.scans
        if row.subject_id in subjects
    ]
    if not items:
        raise ValueError(
            f"dataset_dir must hold scans of the split's {part} part, {manifest.root.name!r} holds none of "
            f"its {len(subjects)} subjects: a split names subjects as subjects.csv does, or else cases"
        )
    return items


def unlabelled_manifest(dataset_dir: str | Path) -> Manifest:
    """The manifest of all scans of a folder, see the module; label maps are named where they are known.

    Raises:
        ValueError: if there is no scan, or ``subjects.csv`` lacks a case.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise ValueError(f"dataset_dir must be a folder that exists, got {root.name!r}")
    if is_segmentation_folder(root):
        return segmentation_manifest(root)
    found = [path.relative_to(root) for path in walk(root) if path.name.endswith(_ENDINGS)]
    images = {_case(path): path for path in found if not is_label_file(path)}
    if not images:
        raise ValueError(
            f"dataset_dir must hold scans as NIfTI files (*.nii, *.nii.gz), {root.name!r} holds none: bring "
            "DICOM into that form with siamed.pipeline.datasets.import_scans"
        )
    subjects = subjects_of(root, images)
    rows = [ScanRow(case, subjects[case], "", path.as_posix()) for case, path in images.items()]
    return Manifest(root, tuple(rows), {})


def _case(path: Path) -> str:
    return path.as_posix().removesuffix(".gz").removesuffix(".nii")

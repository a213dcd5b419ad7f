"""Slices to train the vertebra detector on, from labelled spine volumes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from siamed.pipeline.datasets.manifest import ScanRow
from siamed.pipeline.datasets.spider import merge_labels, spider_manifest
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.scans.itk_formats import ITK_ENDINGS, read_itk
from siamed.transforms.vertebra_targets import PARTIAL, SACRAL, WHOLE
from siamed.transforms.vertebral_bodies import BodyLabel, vertebral_bodies

__all__ = ["canonical_image", "fold_slices", "labelled_volumes", "slice_items"]

log = logging.getLogger(__name__)

_UNCERTAIN = -1
_MIN_SHARE = 0.6  # of the body's typical area: a lateral sliver of a body is neither body nor background


def canonical_image(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """A volume (NIfTI, MetaImage, NRRD) in orientation LIP ``(D, H, W)`` and its voxel -> mm RAS+ affine."""
    if str(path).endswith(ITK_ENDINGS):
        volume = read_itk(Path(path))
        image = nib.Nifti1Image(
            np.asarray(volume.array), np.asarray(volume.affine), dtype=np.asarray(volume.array).dtype
        )
    else:
        image = nib.Nifti1Image.from_filename(str(path))
    wanted = nib.orientations.axcodes2ornt("LIP")
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    return np.asarray(image.dataobj), np.asarray(image.affine, float)


def labelled_volumes(
    dataset_dir: str | Path, folders: Sequence[str], subjects: Iterable[str]
) -> list[ScanRow]:
    """Scans with masks of some subjects.

    Args:
        dataset_dir: SPIDER's release, or its working copy.
        folders: of the working copy, which folders of volumes; the release has one, ``images``, always taken.
        subjects: subject ids.

    Returns:
        Rows of the manifest, with absolute paths.

    Raises:
        ValueError: if no scan of these subjects has a mask.
    """
    wanted = {str(s) for s in subjects}
    root = Path(dataset_dir)
    rows = [
        replace(row, image=str(root / row.image), label=str(root / row.label))
        for row in spider_manifest(root).scans
        if row.label and row.subject_id in wanted and row.image.split("/")[0] in (*folders, "images")
    ]
    if not rows:
        raise ValueError(
            f"dataset_dir must hold scans with masks of the subjects of the split, {root.name!r} holds none"
        )
    return rows


def _area(quad: np.ndarray) -> float:
    across, along = quad[2] - quad[0], quad[3] - quad[1]
    return 0.5 * abs(float(across[0] * along[1] - across[1] * along[0]))


def _areas(body: BodyLabel) -> dict[int, float]:
    return {d: _area(quad) for d, quad in body.slice_corners.items()}


def _kinds(bodies: list[BodyLabel], index: int) -> tuple[np.ndarray, np.ndarray]:
    corners, kinds = [], []
    for body in bodies:
        if index not in body.slice_corners:
            continue
        area = _areas(body)
        small = area[index] < _MIN_SHARE * float(np.median(list(area.values())))
        kind = SACRAL if body.sacral else PARTIAL if body.partial else WHOLE
        corners.append(body.slice_corners[index])
        kinds.append(_UNCERTAIN if small else kind)
    return np.array(corners, float).reshape(-1, 4, 2), np.array(kinds, int)


def slice_items(volumes: Sequence[ScanRow], every: int = 1) -> list[dict[str, Any]]:
    """All labelled slices of some volumes as dictionaries for transforms.

    Args:
        volumes: of :func:`labelled_volumes`.
        every: take every n-th slice.

    Returns:
        Items with image and label ``(1, H, W)`` tensors, corners ``(N, 4, 2)`` in pixels, kinds ``(N,)``,
        spacing_mm (row, column), subject, slice.
    """
    items = []
    for volume in volumes:
        image, affine = canonical_image(volume.image)
        label = merge_labels(canonical_image(volume.label)[0])
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        bodies = vertebral_bodies(label, spacing)
        for d in range(0, image.shape[0], every):
            corners, kinds = _kinds(bodies, d)
            if not len(kinds):
                continue
            items.append(
                {
                    "image": torch.from_numpy(image[d].astype(np.float32))[None],
                    "label": torch.from_numpy(label[d].astype(np.float32))[None],
                    "corners": corners,
                    "kinds": kinds,
                    "spacing_mm": (float(spacing[1]), float(spacing[2])),
                    "subject": volume.subject_id,
                    "slice": d,
                }
            )
    log.info("%d labelled slices from %d volumes", len(items), len(volumes))
    return items


def fold_slices(
    dataset_dir: str | Path,
    folders: Sequence[str],
    split: str | Path,
    fold: int | None,
    part: str,
    every: int = 1,
) -> list[dict[str, Any]]:
    """:func:`slice_items` of one part of a split; what a training's configuration asks for."""
    return slice_items(labelled_volumes(dataset_dir, folders, fold_parts(split, fold, part)), every)

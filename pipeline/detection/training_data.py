"""Slices to train the vertebra detector on, from labelled spine volumes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import Dataset

from siamed.transforms.vertebra_targets import PARTIAL, SACRAL, WHOLE
from siamed.transforms.vertebral_bodies import BodyLabel, vertebral_bodies

__all__ = ["RepeatedSlices", "canonical_image", "fold_slices", "fold_subjects", "labelled_volumes", "slice_items"]

log = logging.getLogger(__name__)

_UNCERTAIN = -1
_MIN_SHARE = 0.6  # of the body's typical area: a lateral sliver of a body is neither body nor background


def canonical_image(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """A NIfTI volume in orientation LIP ``(D, H, W)`` and its voxel -> mm RAS+ affine."""
    image = nib.load(str(path))
    wanted = nib.orientations.axcodes2ornt("LIP")
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    return np.asarray(image.dataobj), np.asarray(image.affine, float)


def labelled_volumes(dataset_dir: str | Path, folders: Sequence[str], subjects: Iterable[int]) -> list[dict[str, Any]]:
    """Image and label paths of some subjects.

    Args:
        dataset_dir: the folder that holds the subset's folders.
        folders: folders of ``PPP_T2_SPACE_image.nii.gz`` and ``..._label.nii.gz`` files.
        subjects: patient numbers.

    Returns:
        One dictionary a volume: subject, image, label.

    Raises:
        FileNotFoundError: if a folder holds no volume of these subjects.
    """
    wanted = {int(s) for s in subjects}
    found = []
    for folder in folders:
        here = [
            {"subject": int(p.name[:3]), "image": str(p), "label": str(p).replace("_image", "_label")}
            for p in sorted((Path(dataset_dir) / folder).glob("*_image.nii.gz"))
            if int(p.name[:3]) in wanted
        ]
        found += here
    if not found:
        raise FileNotFoundError(
            f"dataset_dir holds no labelled volume of the subjects asked for in {list(folders)}: {dataset_dir}"
        )
    return found


def _areas(body: BodyLabel) -> dict[int, float]:
    return {d: abs(float(np.cross(c[2] - c[0], c[3] - c[1]))) / 2 for d, c in body.slice_corners.items()}


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


def slice_items(volumes: Sequence[dict[str, Any]], every: int = 1) -> list[dict[str, Any]]:
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
        image, affine = canonical_image(volume["image"])
        label, _ = canonical_image(volume["label"])
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
                    "subject": volume["subject"],
                    "slice": d,
                }
            )
    log.info("%d labelled slices from %d volumes", len(items), len(volumes))
    return items


def fold_subjects(split: str | Path, fold: int | None, part: str) -> list[int]:
    """Subjects of one part of a split file.

    Args:
        split: JSON file with ``folds``, lists of patient numbers.
        fold: the fold left out; None trains on all and watches fold 0, whose patients then train too.
        part: "training" or "validation".

    Raises:
        ValueError: if the part or the fold is not one of the split's, or two folds share a patient.
    """
    folds = json.loads(Path(split).read_text(encoding="utf-8"))["folds"]
    if part not in ("training", "validation"):
        raise ValueError(f"part must be 'training' or 'validation', got {part!r}")
    if fold is not None and fold not in range(len(folds)):
        raise ValueError(f"fold must be null or one of 0 to {len(folds) - 1}, got {fold!r}")
    everyone = [subject for members in folds for subject in members]
    if len(set(everyone)) != len(everyone):
        raise ValueError(f"split must hold each patient once, {Path(split).name} repeats one")
    if part == "validation":
        return list(folds[fold or 0])
    return [s for k, members in enumerate(folds) if k != fold for s in members]


def fold_slices(
    dataset_dir: str | Path,
    folders: Sequence[str],
    split: str | Path,
    fold: int | None,
    part: str,
    every: int = 1,
) -> list[dict[str, Any]]:
    """:func:`slice_items` of one part of a split; what a training's configuration asks for."""
    subjects = fold_subjects(split, fold, part)
    return slice_items(labelled_volumes(dataset_dir, folders, subjects), every)


class RepeatedSlices(Dataset):
    """Each epoch sees a fixed number of slices, whatever the number of scans: an epoch is then a unit of work.

    Args:
        items: of :func:`slice_items`.
        transform: applied to each item.
        length: items an epoch, drawn with replacement.

    Randomness: which slices, drawn from numpy's global state (seeded for each epoch by ``EpochSeeds``).
    """

    def __init__(self, items: Sequence[dict[str, Any]], transform: Callable, length: int) -> None:
        super().__init__(items, transform)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def _transform(self, index: int) -> Any:
        return super()._transform(int(np.random.randint(len(self.data))))

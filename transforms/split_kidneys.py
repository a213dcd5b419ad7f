"""Which kidney is the right one: by position in the patient, never by position in the array.

A mask of kidneys is parted into connected components; each gets the side of the midline that it lies on.
World axes are RAS+ mm, x grows toward the patient's right: the affine decides, whatever the order and the
direction of the array's axes. What cannot be decided has a name of its own, and is never guessed [D-0074].
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

__all__ = [
    "LEFT",
    "OUTCOMES",
    "RIGHT",
    "KidneySplit",
    "SplitKidneysd",
    "body_mask",
    "body_midline",
    "bounding_box",
    "cut_sides",
    "mirrored_places",
    "split_kidneys",
]

RIGHT, LEFT = 1, 2
"""Labels of a split."""

OUTCOMES = ("two_kidneys", "one_kidney", "joined", "side_unknown", "none")
"""``joined``: one component on both sides of the midline, a horseshoe kidney or two that touch; it is cut at
the midline. ``side_unknown``: one kidney and no midline to tell its side by; nothing is labeled."""

_MIN_KIDNEY_ML = 10.0  # smaller pieces are parts: cysts, ends of a tumor, what a prediction scatters
_MIN_SHARE = 0.15  # of a component on the far side of the midline, for it to lie on both
_JOINED_MM = 120.0  # from side to side; one kidney with its fat is half as wide
_AIR_HU, _SKIN_HU = -500.0, -300.0
_ENOUGH_VOXELS = 2_000_000
_NEIGHBORS = ndimage.generate_binary_structure(3, 3)


@dataclass(frozen=True)
class KidneySplit:
    """A mask, side by side.

    Args:
        labels: uint8, shape of the mask: 0, :data:`RIGHT`, :data:`LEFT`.
        outcome: one of :data:`OUTCOMES`.
        midline_mm: x in RAS+ mm that parted the sides; None where none was needed or known.
        cut: sides ("right", "left") that touch the end of the volume.
    """

    labels: np.ndarray
    outcome: str
    midline_mm: float | None
    cut: tuple[str, ...]


def split_kidneys(
    mask: np.ndarray, affine: np.ndarray, midline_mm: float | None = None, largest: bool = False
) -> KidneySplit:
    """Label the right and the left kidney of a mask.

    Two components of 10 ml or more are two kidneys: without a midline, it is taken midway between the two
    largest; everything smaller goes with the side it lies on. Deterministic.

    Args:
        mask: ``(I, J, K)``, not 0 in kidneys and what belongs to them.
        affine: 4x4, voxel index to RAS+ mm.
        midline_mm: x of the body's midline, see :func:`body_midline`; None where the mask is all there is.
        largest: keep the largest component of each side alone, and of one kidney nothing on the other side:
            for what a network has predicted.

    Raises:
        ValueError: if the mask has no three axes.
    """
    mask = np.asarray(mask) != 0
    if mask.ndim != 3:
        raise ValueError(f"mask must be (I, J, K), got shape {mask.shape}")
    labels = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return KidneySplit(labels, "none", midline_mm, ())
    # Within the kidneys' box alone: whole scans of many slices would take gigabytes.
    box = bounding_box(mask)
    inner, affine = mask[box], np.array(affine, float)
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    parts, count = ndimage.label(inner, _NEIGHBORS)
    x = _across(inner.shape, affine)
    volume_ml = np.bincount(parts.ravel())[1:] * abs(np.linalg.det(affine[:3, :3])) / 1000
    centers = np.atleast_1d(ndimage.mean(x, parts, np.arange(1, count + 1)))
    order = np.argsort(-volume_ml, kind="stable")
    large = [int(i) for i in order if volume_ml[i] >= _MIN_KIDNEY_ML] or [int(order[0])]
    outcome, midline_mm = _outcome(large, centers, x[parts == large[0] + 1], midline_mm)
    if midline_mm is not None:
        whole = np.where(centers > midline_mm, RIGHT, LEFT).astype(np.uint8)
        found = np.concatenate([[0], whole]).astype(np.uint8)[parts]
        if outcome == "joined":
            here = parts == large[0] + 1
            found[here] = np.where(x[here] > midline_mm, RIGHT, LEFT)
        labels[box] = _largest(found, outcome == "one_kidney") if largest else found
    return KidneySplit(labels, outcome, midline_mm, cut_sides(labels))


def _largest(labels: np.ndarray, one_kidney: bool) -> np.ndarray:
    """The largest component of each side, or of the only side that has a kidney."""
    sides = sorted((RIGHT, LEFT), key=lambda side: -int((labels == side).sum()))
    kept = np.zeros_like(labels)
    for side in sides[:1] if one_kidney else sides:
        parts, count = ndimage.label(labels == side, _NEIGHBORS)
        if count:
            kept[parts == np.bincount(parts.ravel())[1:].argmax() + 1] = side
    return kept


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around what is not 0 in a mask that is not empty."""
    lines = [
        np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)
    ]
    return tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)


def _outcome(
    large: list[int], centers: np.ndarray, largest: np.ndarray, midline_mm: float | None
) -> tuple[str, float | None]:
    """What the large components are, and the midline to part them by; ``largest``: x of its voxels."""
    if midline_mm is None and len(large) > 1:
        midline_mm = float(centers[large[:2]].mean())
    if midline_mm is None:
        if np.ptp(largest) < _JOINED_MM:
            return "side_unknown", None
        midline_mm = float(largest.min() + largest.max()) / 2
    sides = {bool(centers[i] > midline_mm) for i in large}
    if len(sides) == 2:
        return "two_kidneys", midline_mm
    beyond = float((largest > midline_mm).mean())
    return ("joined" if min(beyond, 1 - beyond) >= _MIN_SHARE else "one_kidney"), midline_mm


def _across(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World x of every voxel, RAS+ mm."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]


def cut_sides(labels: np.ndarray) -> tuple[str, ...]:
    """Sides of a split's labels that touch the end of the volume: "right", "left"."""
    ends = [labels.take([0, -1], axis).ravel() for axis in range(3)]
    found = np.unique(np.concatenate(ends))
    return tuple(name for name, label in (("right", RIGHT), ("left", LEFT)) if label in found)


def body_mask(
    image: np.ndarray, affine: np.ndarray, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The body in a scan, coarsely: what lies above a threshold and hangs together.

    Args:
        image: ``(I, J, K)``, CT or MR, with its own intensities.
        affine: 4x4, voxel index to RAS+ mm.
        threshold: the largest component above it is the body. None takes -300 HU where there are Hounsfield
            units at all, which intensities below -500 tell, and a tenth of the brightest hundredth elsewhere.

    Returns:
        bool, every n-th voxel of a long scan, and the affine of these voxels.

    Raises:
        ValueError: if nothing lies above the threshold.
    """
    image, affine = np.asarray(image), np.asarray(affine, float)
    step = max(1, round((image.size / _ENOUGH_VOXELS) ** (1 / 3)))
    image, affine = image[::step, ::step, ::step], affine @ np.diag([step, step, step, 1.0])
    if threshold is None:
        hounsfield = float(image.min()) < _AIR_HU
        threshold = _SKIN_HU if hounsfield else 0.1 * float(np.percentile(image, 99))
    parts, count = ndimage.label(image > threshold)
    if not count:
        raise ValueError(f"threshold must be below the body's intensities, got {threshold}")
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1, affine


def body_midline(image: np.ndarray, affine: np.ndarray, threshold: float | None = None) -> float:
    """Middle of the body, x in RAS+ mm: the median over the slices of the middle between its two sides.

    Args:
        image: see :func:`body_mask`.
        affine: see there.
        threshold: see there.

    Raises:
        ValueError: if nothing lies above the threshold.
    """
    return _midline(*body_mask(image, affine, threshold))


def _midline(body: np.ndarray, affine: np.ndarray) -> float:
    x = _across(body.shape, affine)
    # Slices across the axis that runs from foot to head.
    axis = int(np.abs(affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())
    middles = []
    for inside, where in zip(np.moveaxis(body, axis, 0), np.moveaxis(x, axis, 0), strict=True):
        if inside.any():
            found = where[inside]
            middles.append((found.min() + found.max()) / 2)
    return float(np.median(middles))


def mirrored_places(
    image: np.ndarray, affine: np.ndarray, lateral_mm: float, depth_mm: float
) -> dict[str, np.ndarray]:
    """Where kidneys are to be expected, told by the body's symmetry alone, without a label.

    Both places lie as far from the midline, as far before the back, and at the middle of the scan's height.

    Args:
        image: see :func:`body_mask`.
        affine: see there.
        lateral_mm: distance from the midline.
        depth_mm: distance from the back.

    Returns:
        "right" and "left" -> point, RAS+ mm.
    """
    body, coarse = body_mask(image, affine)
    inside = np.argwhere(body) @ coarse[:3, :3].T + coarse[:3, 3]
    x, back = _midline(body, coarse), float(np.percentile(inside[:, 1], 1))
    height = float(inside[:, 2].min() + inside[:, 2].max()) / 2
    return {
        side: np.array([x + sign * lateral_mm, back + depth_mm, height])
        for side, sign in (("right", 1), ("left", -1))
    }


class SplitKidneysd(MapTransform):
    """Dictionary version of :func:`split_kidneys`, for masks ``(1, I, J, K)`` with an affine.

    Args:
        keys: masks.
        image_key: scan ``(1, I, J, K)`` with its affine and its own intensities, whose
            :func:`body_midline` parts the sides. None leaves a mask of one kidney without a side, unlabeled.
        largest: see :func:`split_kidneys`.
        allow_missing_keys: as for every transform of MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: Hashable | None = None,
        largest: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.largest = image_key, largest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        midline_mm = None
        if self.image_key is not None:
            midline_mm = body_midline(*_volume(result, self.image_key))
        for key in self.key_iterator(result):
            split = split_kidneys(*_volume(result, key), midline_mm, self.largest)
            labels = torch.from_numpy(split.labels)[None]
            result[key] = MetaTensor(labels, meta=dict(result[key].meta))
        return result


def _volume(data: Mapping[Hashable, Any], key: Hashable) -> tuple[np.ndarray, np.ndarray]:
    """Array ``(I, J, K)`` and affine of a volume."""
    value = data[key]
    if not isinstance(value, MetaTensor) or value.shape[0] != 1:
        raise ValueError(f"{key} must be a MetaTensor (1, I, J, K), got {type(value).__name__}")
    return value.as_tensor()[0].cpu().numpy(), np.asarray(value.affine)

"""Real bodies of labelled MR scans as maps of tissues: what has a label keeps it, the rest is clustered.

Gray values of an MR scan part tissues, though in no order that CT has: their clusters get Hounsfield units of
their own, drawn at random [billot2023synthseg, Sec. 3.1]. Label ids are those of CHAOS: 1 liver, 2 right
kidney, 3 left kidney, 4 spleen.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

from siamed.transforms.tissues import CLUSTERS, tissue_number

from .abdomen import Organs, fill_kidneys

__all__ = ["canonical", "cubic", "mr_body", "organs_of"]

_LIVER, _KIDNEYS, _SPLEEN = 1, (2, 3), 4
_SAMPLES = 20_000  # voxels that clusters are found on
_AXES = "IPL"


def canonical(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A NIfTI file's voxels ``(D, H, W)`` in the canonical axes, and their spacing in mm ``(3,)``."""
    image = nibabel.Nifti1Image.from_filename(path)
    wanted = nibabel.orientations.axcodes2ornt(_AXES)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    image = image.as_reoriented(turn)
    return np.asarray(image.dataobj), np.asarray(image.header.get_zooms()[:3], float)


def cubic(volume: np.ndarray, spacing: np.ndarray, wanted_mm: float) -> np.ndarray:
    """Resample linearly to cubic voxels; a mask becomes one again."""
    found = ndimage.zoom(volume.astype(np.float32), spacing / wanted_mm, order=1)
    return found > 0.5 if volume.dtype == bool else found


def organs_of(label: Path, spacing_mm: float) -> Organs:
    """Liver, spleen and kidneys of a label map on cubic voxels."""
    numbers, spacing = canonical(label)
    masks = (numbers == _LIVER, numbers == _SPLEEN, np.isin(numbers, _KIDNEYS))
    return Organs(*(cubic(mask, spacing, spacing_mm) for mask in masks))


def mr_body(image: Path, label: Path, spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """One real body as a map of tissues.

    Args:
        image: MR scan.
        label: its label map.
        spacing_mm: edge of the map's voxels.
        rng: of the number of clusters, and of what is drawn inside the kidneys.

    Returns:
        ``(D, H, W)`` uint8, numbers of :data:`~siamed.transforms.tissues.TISSUES`.
    """
    values, spacing = canonical(image)
    numbers, _ = canonical(label)
    gray = ndimage.gaussian_filter(cubic(values, spacing, spacing_mm), 0.7)
    body = ndimage.binary_fill_holes(gray > 0.08 * np.percentile(gray, 99))
    parts, count = ndimage.label(body)
    body = parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count else body
    clusters = int(rng.integers(5, len(CLUSTERS) + 1))
    samples = rng.choice(gray[body], _SAMPLES)[:, None]
    found = KMeans(clusters, n_init=1, random_state=int(rng.integers(2**31))).fit(samples)
    tissues = np.full(gray.shape, tissue_number("air"), np.uint8)
    tissues[body] = np.asarray(CLUSTERS, np.uint8)[found.predict(gray[body][:, None])]
    for which, name in ((_LIVER, "liver"), (_SPLEEN, "spleen")):
        tissues[cubic(numbers == which, spacing, spacing_mm)] = tissue_number(name)
    kidneys = cubic(np.isin(numbers, _KIDNEYS), spacing, spacing_mm)
    fill_kidneys(tissues, kidneys.astype(np.uint8), spacing_mm, rng)
    return tissues

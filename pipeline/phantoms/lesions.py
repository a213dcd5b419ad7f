"""Discs of phantoms, half of them with an endplate defect in a known place that alone decides their label.

The defect is a node of disc tissue pushed into the body above, as [jamaludin2016spinenet, Fig. 3] shows them:
dark, with a brighter core, in one slice, anywhere along the upper endplate. Discs, their grades and their
scanner's look are drawn without regard to it. For checks of methods that say where evidence lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .lumbar import lumbar_phantom

__all__ = ["LesionDiscs", "planted_lesions"]

_FIELD, _MARGIN = (56, 112), (12, 24)  # half of the papers' 112 x 224, and room for views to move
_DEPTH_MM, _RADIUS_MM = 2.5, (2.5, 4.0)  # of the node's middle above the plate, of its size
_RIM, _CORE = 0.12, 0.3  # brightness, where a body is 0.5


@dataclass(frozen=True)
class LesionDiscs:
    """N disc volumes.

    Args:
        volumes: ``(N, D, H, W)`` float32 in [0, 1], 80 x 160 pixels, a view covers the middle 56 x 112.
        label: ``(N,)`` 1 where a defect is planted.
        center: ``(N, 3)`` slice, row, column of the defect's middle; nan where there is none.
        radius_px: ``(N,)`` of the defect; 0 where there is none.
    """

    volumes: np.ndarray
    label: np.ndarray
    center: np.ndarray
    radius_px: np.ndarray


def planted_lesions(spines: int, slices: int = 5, seed: int = 0) -> LesionDiscs:
    """Draw spines, cut their discs below T12, and plant a defect in every second disc on average.

    Args:
        spines: phantoms; each gives about six discs.
        slices: of a volume, odd.
        seed: of everything; other seeds give other spines.
    """
    import torch
    from monai.data import MetaTensor

    from siamed.transforms.extract_disc import DISC_WIDTH_FRACTION, ExtractDisc

    height, width = (n + 2 * m for n, m in zip(_FIELD, _MARGIN, strict=True))
    cut = ExtractDisc((slices, height, width), DISC_WIDTH_FRACTION * _FIELD[1] / width)
    rng = np.random.default_rng([seed, 7])
    volumes, labels, centers, radii = [], [], [], []
    for number in range(spines):
        phantom = lumbar_phantom(
            seed=100_000 * (seed + 1) + number,
            contrast="T2",
            slices=slices + 2,
            size=(300, 300),
            spacing_mm=(1.0, 1.0),
            noise=float(rng.uniform(0.01, 0.04)),
        )
        image = MetaTensor(torch.from_numpy(phantom.image)[None], affine=torch.from_numpy(phantom.affine))
        for name in phantom.grades:
            upper, lower = name.split("-")
            if upper == "T11":
                continue
            plate = phantom.corners_mm[upper]
            disc = cut(image, plate, phantom.corners_mm[lower])
            volume = disc.as_tensor()[0].numpy().copy()
            center, radius = np.full(3, np.nan), 0.0
            if rng.random() < 0.5:
                center, radius = _plant(volume, np.asarray(disc.affine, float), plate, rng)
            volumes.append(volume)
            labels.append(int(radius > 0))
            centers.append(center)
            radii.append(radius)
    return LesionDiscs(np.stack(volumes), np.array(labels), np.stack(centers), np.array(radii))


def _plant(
    volume: np.ndarray, affine: np.ndarray, corners_mm: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draw a defect into the lower plate of the body with these corners; returns its place and radius."""
    posterior, anterior = corners_mm[2], corners_mm[3]
    inverse = np.linalg.inv(affine)
    ends = np.stack([anterior, posterior]) @ inverse[:3, :3].T + inverse[:3, 3]
    pixel_mm = float(np.linalg.norm(anterior - posterior) / np.linalg.norm(ends[1, 1:] - ends[0, 1:]))
    row, column = ends[0, 1:] + rng.uniform(0.2, 0.8) * (ends[1, 1:] - ends[0, 1:])
    row -= _DEPTH_MM / pixel_mm
    slice_, radius = int(rng.integers(volume.shape[0])), float(rng.uniform(*_RADIUS_MM)) / pixel_mm
    rows, columns = np.indices(volume.shape[1:])
    away = np.hypot(rows - row, columns - column) / radius
    inside = np.clip((1 - away) * radius + 0.5, 0, 1)
    node = np.where(away < 0.5, _CORE, _RIM)
    volume[slice_] += (inside * (node - volume[slice_])).astype(np.float32)
    return np.array([slice_, row, column]), radius

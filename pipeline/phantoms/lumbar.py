"""A parametric sagittal lumbar spine in T2 and T1, with every corner, disc grade and side known.

The column is a chain of tilted bodies built upwards from the plate of S1: lordosis comes from the tilts, so
names, corners and discs follow from the parameters. Grades show as Pfirrmann described them: the nucleus
loses its brightness from grade 1 to 5 and the disc its height [pfirrmann2001, Table 1]. One oil capsule
lies on the patient's left back, so that a mirrored image cannot pass for a right one. Sizes are drawn from
adult ranges; no measured scan is in it.

Conventions: images ``(D, H, W)`` in orientation LIP, points in RAS+ mm, the middle sagittal plane at x = 0.
Label ids as in SPIDER: 1 vertebra with its posterior elements, 2 disc, 3 spinal canal; the sacrum is not
labelled [vandergraaf2024spider, Methods].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .anatomy import draw_anatomy, make_own
from .scene import Scene

__all__ = ["LEVELS", "LumbarPhantom", "lumbar_phantom"]

LEVELS = ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2", "S3")
"""Levels of the default phantom, superior first; the uppermost are cut by the edge of the field of view."""

_TISSUES = {  # brightness on a 12-bit scanner's scale
    "T2": {
        "marrow": 430,
        "cortex": 50,
        "annulus": 90,
        "csf": 1050,
        "cord": 430,
        "fat": 1000,
        "muscle": 160,
        "belly": 330,
        "vessel": 40,
        "oil": 1300,
    },
    "T1": {
        "marrow": 520,
        "cortex": 60,
        "annulus": 240,
        "csf": 170,
        "cord": 330,
        "fat": 1100,
        "muscle": 290,
        "belly": 520,
        "vessel": 60,
        "oil": 1300,
    },
}
_NUCLEUS = {  # by Pfirrmann grade; on T1 the nucleus hardly differs from the annulus
    "T2": {1: 900, 2: 740, 3: 450, 4: 230, 5: 110},
    "T1": {1: 300, 2: 295, 3: 285, 4: 270, 5: 250},
}


@dataclass(frozen=True)
class LumbarPhantom:
    """A phantom and all that is known about it.

    Attributes:
        image: ``(D, H, W)`` float32, LIP.
        affine: 4x4, voxel -> RAS+ mm.
        label: ``(D, H, W)`` uint8, LIP; 1 vertebra, 2 disc, 3 canal.
        corners_mm: level -> ``(4, 3)`` mm, AS, PS, PI, AI in the middle plane; those out of view too.
        grades: disc ("L4-L5") -> Pfirrmann grade 1-5.
        fiducial_mm: ``(3,)`` middle of the oil capsule on the patient's left back.
        contrast: "T2" or "T1".
        parameters: keywords that :func:`lumbar_phantom` was called with, without contrast.
    """

    image: np.ndarray
    affine: np.ndarray
    label: np.ndarray
    corners_mm: dict[str, np.ndarray]
    grades: dict[str, int]
    fiducial_mm: np.ndarray
    contrast: str
    parameters: dict[str, Any] = field(default_factory=dict)


def lumbar_phantom(
    seed: int = 0,
    contrast: str = "T2",
    slices: int = 15,
    size: tuple[int, int] = (512, 512),
    spacing_mm: tuple[float, float] = (0.55, 0.55),
    slice_mm: float = 4.4,
    grades: Mapping[str, int] | None = None,
    levels: Sequence[str] = LEVELS,
    noise: float = 0.02,
    visit: int | None = None,
    twin: int = 0,
) -> LumbarPhantom:
    """Draw a lumbar spine.

    Args:
        seed: of the anatomy; the same seed gives the same anatomy in both contrasts and in any sampling.
        contrast: "T2" or "T1".
        slices: sagittal slices, centered on the middle plane.
        size: rows and columns.
        spacing_mm: between rows, between columns, mm.
        slice_mm: between slices, mm.
        grades: Pfirrmann grades 1-5 by disc name; the others are drawn.
        levels: names from superior to inferior, the last ones sacral ("S1", "S2" ...).
        noise: Rician noise, as a share of the brightness of fat.
        visit: number of a visit of a person who is scanned more than once: the seed then gives vertebral
            bodies of the person's own (waist, plates, islands of fat in the marrow), alike at every visit,
            while pose, soft tissue, coil and noise are the visit's. None draws everybody's bodies alike.
        twin: number of a sibling: same sizes and curve of the spine, but bodies of their own.

    Returns:
        The phantom.

    Shape:
        image, label: ``(slices, *size)``.

    Raises:
        ValueError: for an unknown contrast, levels without a sacrum, a wrong grade, or wrong sizes.

    Randomness: anatomy from ``seed``; noise and texture from ``seed`` and ``contrast``; with a visit also
    from ``twin`` and ``visit``, see there.
    """
    _check(contrast, slices, size, spacing_mm, slice_mm, levels)
    parameters = {
        "seed": seed, "slices": slices, "size": tuple(size), "spacing_mm": tuple(spacing_mm),
        "slice_mm": slice_mm, "grades": None if grades is None else dict(grades), "levels": tuple(levels),
        "noise": noise, "visit": visit, "twin": twin,
    }  # fmt: skip
    extent = np.array(size) * spacing_mm
    shift, turn = np.zeros(2), 0.0
    if visit is not None:
        pose = np.random.default_rng([seed, 3, twin, visit])
        shift, turn = pose.uniform(-8, 8, 2), np.deg2rad(pose.uniform(-3, 3))
    bodies, gaps = draw_anatomy(np.random.default_rng([seed, 0]), extent, levels, grades or {}, shift, turn)
    if visit is not None:
        make_own(bodies, np.random.default_rng([seed, 4, twin]))
    affine = np.eye(4)
    affine[:3, :3] = [[-slice_mm, 0, 0], [0, 0, -spacing_mm[1]], [0, -spacing_mm[0], 0]]
    affine[:3, 3] = (slices - 1) / 2 * slice_mm, extent[1] / 2, extent[0] / 2
    aside = slice_mm * min((slices - 1) // 2, max(1, round(13 / slice_mm)))
    scene = Scene(
        bodies,
        gaps,
        (size[0], size[1]),
        (spacing_mm[0], spacing_mm[1]),
        _TISSUES[contrast],
        _NUCLEUS[contrast],
        -aside,
    )
    rng = np.random.default_rng([seed, 1, int(contrast[1]), *([] if visit is None else [twin, visit])])
    image = np.empty((slices, *size), np.float32)
    label = np.empty((slices, *size), np.uint8)
    scene.texture(rng)
    bias = _bias(rng, size)
    sigma = np.float32(noise * _TISSUES[contrast]["fat"])
    for d in range(slices):
        canvas = scene.draw(float(affine[0, 3] - d * slice_mm), slice_mm)
        real, imaginary = sigma * rng.standard_normal((2, *size), np.float32)
        real += canvas.image * bias
        np.hypot(real, imaginary, out=image[d])  # the magnitude of a complex signal: Rician noise
        label[d] = canvas.label

    def world(points: np.ndarray, x: float = 0.0) -> np.ndarray:
        points = np.atleast_2d(points)
        return np.column_stack(
            [np.full(len(points), x), affine[1, 3] - points[:, 1], affine[2, 3] - points[:, 0]]
        )

    return LumbarPhantom(
        image=image,
        affine=affine,
        label=label,
        corners_mm={b.level: world(b.corners()) for b in bodies},
        grades={g.name: g.grade for g in gaps},
        fiducial_mm=world(scene.fiducial, -aside)[0],
        contrast=contrast,
        parameters=parameters,
    )


def _check(
    contrast: str,
    slices: int,
    size: tuple[int, int],
    spacing_mm: tuple[float, float],
    slice_mm: float,
    levels: Sequence[str],
) -> None:
    if contrast not in _TISSUES:
        raise ValueError(f"contrast must be one of {sorted(_TISSUES)}, got {contrast!r}")
    if slices < 3 or min(size) < 1:
        raise ValueError(f"slices must be at least 3 and size positive, got {slices} and {tuple(size)}")
    if min(*spacing_mm, slice_mm) <= 0:
        raise ValueError(f"spacing_mm and slice_mm must be above 0, got {tuple(spacing_mm)} and {slice_mm}")
    sacral = [level.startswith("S") for level in levels]
    if len(set(levels)) != len(levels) or "S1" not in levels or sacral != sorted(sacral) or all(sacral):
        raise ValueError(
            f"levels must be names from superior to inferior down to the sacrum, got {list(levels)}"
        )


def _bias(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A surface coil's slow change of brightness, ``(H, W)``: brighter at the back."""
    across = np.linspace(-1, 1, size[1])[None]
    along = np.linspace(-1, 1, size[0])[:, None]
    a, b = rng.uniform(0.08, 0.18), rng.uniform(-0.05, 0.05)
    return (1 + a * across + b * along - 0.08 * along**2).astype(np.float32)

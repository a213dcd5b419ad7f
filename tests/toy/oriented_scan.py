"""Scans of any geometry whose values tell their place in the patient, and corners of bodies in them."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

LIP = np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]])  # columns: to left, inferior, posterior


def rotation(x_deg: float, y_deg: float, z_deg: float) -> np.ndarray:
    x, y, z = np.deg2rad([x_deg, y_deg, z_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def make_affine(spacing=(4.0, 0.5, 0.5), angles=(0.0, 0.0, 0.0), origin=(12.0, 60.0, 80.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(*angles) @ LIP * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


def linear(points: np.ndarray) -> np.ndarray:
    return 500 + points @ np.array([3.0, -1.7, 0.9])


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def linear_image(affine: np.ndarray, shape=(11, 160, 160)) -> MetaTensor:
    values = linear(world(affine, shape))
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine))


def corners(affine, middle, center_mm, width_mm=32.0, height_mm=24.0, tilt_deg=0.0) -> np.ndarray:
    """A rectangle in slice ``middle``, center (y, x) in mm from voxel (0, 0), turned posterior side down."""
    down, back = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in (1, 2))
    tilt = np.deg2rad(tilt_deg)
    posterior = np.cos(tilt) * back + np.sin(tilt) * down
    inferior = np.cos(tilt) * down - np.sin(tilt) * back
    center = affine[:3, 3] + middle * affine[:3, 0] + center_mm[0] * down + center_mm[1] * back
    signs = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    return np.array([center + height_mm / 2 * i * inferior + width_mm / 2 * p * posterior for i, p in signs])


def pair(affine, middle, center_mm=(40.0, 40.0), tilt_deg=0.0, gap_mm=10.0, height_mm=24.0):
    tilt = np.deg2rad(tilt_deg)
    step = (height_mm + gap_mm) / 2 * np.array([np.cos(tilt), -np.sin(tilt)])
    make = [
        corners(affine, middle, np.array(center_mm) + s * step, 32.0, height_mm, tilt_deg) for s in (-1, 1)
    ]
    return make[0], make[1]


GEOMETRIES = {
    "plain": ((4.0, 0.5, 0.5), (0, 0, 0)),
    "anisotropic": ((3.3, 0.4, 0.7), (0, 0, 0)),
    "oblique": ((4.0, 0.5, 0.5), (9, -14, 17)),
    "oblique and anisotropic": ((3.3, 0.6, 0.45), (-12, 8, -20)),
}


def painted() -> tuple[MetaTensor, np.ndarray, np.ndarray, np.ndarray]:
    """Bodies of 40 (smaller) and 80 (larger), disc 100 in front and 200 behind; slice k times k + 1."""
    affine = make_affine()
    rows, columns = np.mgrid[:160, :160] * 0.5
    plane = np.where(columns < 40, 100.0, 200.0)
    upper = corners(affine, 5, (25, 40), height_mm=20.0)
    lower = corners(affine, 5, (59, 40), height_mm=28.0)
    plane[(rows > 14) & (rows < 36) & (columns > 22) & (columns < 58)] = 40
    plane[(rows > 44) & (rows < 74) & (columns > 22) & (columns < 58)] = 80
    values = torch.from_numpy(plane[None] * np.arange(1, 12)[:, None, None]).float()
    return MetaTensor(values[None], affine=torch.from_numpy(affine)), upper, lower, affine

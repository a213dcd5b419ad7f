"""Slow extraction written from the papers' words, voxel by voxel, apart from the library's own geometry.

[jamaludin2016spinenet, Disc volume extraction]: the region is rotated within the sagittal slice so that the
disc is horizontal and centered; nine slices around the middle one; slices that do not exist are zero.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def world_axes(quad_mm: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Center, posterior and inferior unit vectors (mm, RAS) and width of a quadrilateral in a slice."""
    edge = (quad_mm[1] - quad_mm[0] + quad_mm[2] - quad_mm[3]) / 2
    width = float(np.linalg.norm(edge))
    posterior = edge / width
    normal = np.cross(affine[:3, 1], affine[:3, 2])
    inferior = np.cross(normal, posterior)
    inferior /= np.linalg.norm(inferior)
    if inferior @ affine[:3, 1] < 0:
        inferior = -inferior
    return quad_mm.mean(0), posterior, inferior, width


def extract(
    image: np.ndarray,
    affine: np.ndarray,
    quad_mm: np.ndarray,
    middle: int,
    size: tuple[int, int, int],
    fraction: float,
) -> np.ndarray:
    """Volume of shape ``size`` from an image (D, H, W): each pixel's world point, looked up in its slice."""
    center, posterior, inferior, width = world_axes(quad_mm, affine)
    pixel = width / (fraction * size[2])
    out = np.zeros(size)
    inverse = np.linalg.inv(affine)
    center_voxel = inverse[:3, :3] @ center + inverse[:3, 3]
    center = center + (middle - center_voxel[0]) * affine[:3, 0]
    for index in range(size[0]):
        source = middle + index - size[0] // 2
        if not 0 <= source < image.shape[0]:
            continue
        rows, columns = np.mgrid[: size[1], : size[2]]
        points = (
            center
            + (source - middle) * affine[:3, 0]
            + pixel * (rows[..., None] - (size[1] - 1) / 2) * inferior
            + pixel * (columns[..., None] - (size[2] - 1) / 2) * posterior
        )
        voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
        out[index] = ndimage.map_coordinates(
            image[source], [voxels[..., 1], voxels[..., 2]], order=1, mode="grid-constant", cval=0.0
        )
    return out

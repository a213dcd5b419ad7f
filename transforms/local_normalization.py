"""Intensities beside those of the surroundings: MR without the coil's brightness, and without a unit.

Brightness in MR falls off with the distance from a coil, and a scan's highest intensities may be anything's,
bowel's or fluid's. What a tissue keeps is its ratio to what lies around it: each voxel is divided by the mean
of the body within a few centimeters, weighed by a Gaussian [D-0075]. What the body is, and how bright it may
be, goes by a high percentile of the scan; a cyst or a full bowel of a few hundredths of the scan moves the
99th, and hardly the 90th [D-0084].
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

__all__ = ["LocalNormalizationd", "normalize_locally"]

_BORDER = 0.05  # share of body in the surroundings below which they count as air


def normalize_locally(
    image: np.ndarray,
    spacing_mm: tuple[float, ...],
    sigma_mm: float,
    top: float,
    floor: float,
    bright: tuple[float, float],
) -> np.ndarray:
    """Divide by the mean of the surroundings.

    Args:
        image: ``(I, J, K)``, 0 or more.
        spacing_mm: along the three axes.
        sigma_mm: of the Gaussian.
        top: ratio beyond which nothing is told apart.
        floor: share of what is bright that the surroundings are taken to be brighter by, so that noise in
            air, and what lies in dark surroundings, stays dark.
        bright: a percentile of the scan and how many times it: what counts as bright. The body is what
            exceeds a tenth of it, with all that it encloses, and nothing adds more than it to its
            surroundings' mean.

    Returns:
        float32 of the same shape in [0, top]; about 1 in what is as bright as its surroundings. An image
        without any signal stays 0. Deterministic.
    """
    image = np.asarray(image, np.float32)
    percentile, times = bright
    most = times * float(np.percentile(image, percentile))
    if most <= 0:
        return np.zeros_like(image)
    body = ndimage.binary_fill_holes(image > 0.1 * most).astype(np.float32)
    sigma = [sigma_mm / spacing for spacing in spacing_mm]
    around = _blurred(np.minimum(image, most) * body, sigma) / (_blurred(body, sigma) + _BORDER)
    return np.clip(image / (around + floor * most), 0.0, top)


def _blurred(image: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """``ndimage.gaussian_filter``, edges repeated. Its kernels may be longer than the image, so that a matrix
    along each axis does the same with less work."""
    for axis, (size, width) in enumerate(zip(image.shape, sigma, strict=True)):
        matrix = ndimage.gaussian_filter1d(np.eye(size, dtype=np.float32), width, axis=0, mode="nearest")
        image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
    return image


class LocalNormalizationd(MapTransform):
    """Dictionary version of :func:`normalize_locally`, for images ``(1, I, J, K)`` with an affine.

    Args:
        keys: images.
        sigma_mm: see :func:`normalize_locally`.
        top: see there.
        floor: see there.
        bright: see there.
        allow_missing_keys: as for every transform of MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        sigma_mm: float,
        top: float,
        floor: float,
        bright: Sequence[float],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.sigma_mm, self.top, self.floor = float(sigma_mm), float(top), float(floor)
        percentile, times = (float(value) for value in bright)
        self.bright = percentile, times

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if not isinstance(image, MetaTensor) or image.shape[0] != 1:
                raise ValueError(f"{key} must be a MetaTensor (1, I, J, K), got {type(image).__name__}")
            spacing = tuple(float(s) for s in image.pixdim)
            values = normalize_locally(
                image.as_tensor()[0].cpu().numpy(), spacing, self.sigma_mm, self.top, self.floor, self.bright
            )
            new = cast(MetaTensor, image.clone())
            new.set_array(torch.from_numpy(values)[None])
            result[key] = new
        return result

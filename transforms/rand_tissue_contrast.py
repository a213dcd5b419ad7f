"""Random contrast of an MR slice, tissue by tissue.

A detector trained on one sequence must work on others: marrow is dark on some T2 scans and bright on T1,
cerebrospinal fluid the other way round. Where a label map is known, each tissue's intensities are moved on
their own; the whole slice then goes through a random monotone curve, a smooth bias field, blur and noise
[D-0022]. Labels are untouched.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from scipy import ndimage

__all__ = ["ContrastParameters", "RandTissueContrastd", "apply_contrast"]


@dataclass(frozen=True)
class ContrastParameters:
    """What is done to one slice; ``tissue_gain`` and ``tissue_shift`` per label id 1, 2, 3 ..."""

    tissue_gain: tuple[float, ...]
    tissue_shift: tuple[float, ...]
    gamma: float
    invert: float
    bias: tuple[float, ...]
    blur_px: float
    noise: float
    noise_seed: int


def apply_contrast(image: np.ndarray, label: np.ndarray, p: ContrastParameters) -> np.ndarray:
    """Apply drawn contrast parameters.

    Args:
        image: slice ``(H, W)`` scaled to about [0, 1].
        label: integer label map ``(H, W)``, 0 elsewhere.
        p: drawn parameters.

    Returns:
        float32 slice ``(H, W)``.
    """
    out = image.astype(np.float32)
    for index, (gain, shift) in enumerate(zip(p.tissue_gain, p.tissue_shift, strict=True), start=1):
        soft = ndimage.gaussian_filter((label == index).astype(np.float32), 0.7)
        out = out + soft * (gain * out + shift - out)
    out = np.clip(out, 0, None) ** p.gamma
    top = float(np.percentile(out, 99.5)) or 1.0
    out = (1 - p.invert) * out + p.invert * np.clip(top - out, 0, None) * (image > 0.02)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in out.shape), indexing="ij")
    b = p.bias
    field = b[0] * rows + b[1] * columns + b[2] * rows**2 + b[3] * columns**2 + b[4] * rows * columns
    out = out * np.exp(field)
    if p.blur_px > 0:
        out = ndimage.gaussian_filter(out, p.blur_px)
    noise = np.random.default_rng(p.noise_seed).standard_normal((2, *out.shape)).astype(np.float32)
    scale = p.noise * float(np.percentile(out, 99))
    return np.hypot(out + scale * noise[0], scale * noise[1])  # magnitude images carry Rician noise


class RandTissueContrastd(MapTransform, Randomizable):
    """Draw and apply :class:`ContrastParameters`.

    Args:
        keys: image key, then label key (the label is read, never changed).
        prob: probability of changing tissues and inverting; curve, bias, blur and noise are always drawn.
        tissue_gain: (low, high) factor for each labelled tissue, drawn log-uniformly.
        tissue_shift: +- additive change for each tissue, in units of the scaled image.
        log_gamma: the curve's exponent is exp(+- this).
        bias: +- coefficients of the quadratic bias field (log scale).
        blur_px: largest Gaussian sigma in pixels.
        noise: largest noise as a share of the 99th percentile.
        invert_prob: probability of a partial inversion of the whole slice.
        tissues: number of label ids.

    Randomness: all of the above, drawn with ``self.R``; the noise by a seed that is drawn.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        prob: float,
        tissue_gain: tuple[float, float],
        tissue_shift: float,
        log_gamma: float,
        bias: float,
        blur_px: float,
        noise: float,
        invert_prob: float,
        tissues: int = 3,
    ) -> None:
        super().__init__(keys)
        self.prob, self.tissue_gain, self.tissue_shift = prob, tissue_gain, tissue_shift
        self.log_gamma, self.bias, self.blur_px, self.noise = log_gamma, bias, blur_px, noise
        self.invert_prob, self.tissues = invert_prob, tissues

    def draw(self) -> ContrastParameters:
        """Draw the parameters for one slice."""
        n, strong = self.tissues, self.R.rand() < self.prob
        low, high = np.log(self.tissue_gain)
        return ContrastParameters(
            tissue_gain=tuple(np.exp(self.R.uniform(low, high, n))) if strong else (1.0,) * n,
            tissue_shift=tuple(self.R.uniform(-1, 1, n) * self.tissue_shift) if strong else (0.0,) * n,
            gamma=float(np.exp(self.R.uniform(-1, 1) * self.log_gamma)),
            invert=float(self.R.uniform(0.3, 1.0)) if strong and self.R.rand() < self.invert_prob else 0.0,
            bias=tuple(self.R.uniform(-1, 1, 5) * self.bias),
            blur_px=float(self.R.uniform(0, self.blur_px)) if self.R.rand() < 0.5 else 0.0,
            noise=float(self.R.uniform(0, self.noise)),
            noise_seed=int(self.R.randint(2**31 - 1)),
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image, label = self.keys
        changed = apply_contrast(
            np.asarray(result[image][0], np.float32), np.asarray(result[label][0]).astype(np.int16), self.draw()
        )
        result[image] = torch.from_numpy(np.ascontiguousarray(changed))[None]
        return result

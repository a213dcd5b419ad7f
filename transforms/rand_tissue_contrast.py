"""Random contrast of an MR slice, tissue by tissue.

A detector trained on one sequence must work on others: marrow is dark on some T2 scans and bright on T1,
cerebrospinal fluid the other way round. The slice goes through a random curve that need not be monotone, so
that equal intensities (bodies and the unlabelled sacrum, say) stay equal; where a label map is known, some
tissues are then moved to a gray level of their own; at last come a smooth bias field, blur and noise
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


CURVE_AT = np.array([0.0, 0.08, 0.16, 0.26, 0.4, 0.6, 0.9, 2.0])
"""Knots of the random curve; 1 is the slice's 99th percentile. Denser where tissue is."""


@dataclass(frozen=True)
class ContrastParameters:
    """What is done to one slice; tissue level and gain per label id 1, 2, 3 ... (level nan: untouched)."""

    curve: tuple[float, ...]
    tissue_level: tuple[float, ...]
    tissue_gain: tuple[float, ...]
    gamma: float
    bias: tuple[float, ...]
    blur_px: float
    noise: float
    noise_seed: int


def apply_contrast(image: np.ndarray, label: np.ndarray, p: ContrastParameters) -> np.ndarray:
    """Apply drawn contrast parameters.

    Args:
        image: slice ``(H, W)`` scaled so that 1 is about its 99th percentile.
        label: integer label map ``(H, W)``, 0 elsewhere.
        p: drawn parameters.

    Returns:
        float32 slice ``(H, W)``.
    """
    out = np.interp(image, CURVE_AT, p.curve).astype(np.float32)
    for index, (level, gain) in enumerate(zip(p.tissue_level, p.tissue_gain, strict=True), start=1):
        region = label == index
        if np.isnan(level) or not region.any():
            continue
        soft = ndimage.gaussian_filter(region.astype(np.float32), 0.7)
        out = out + soft * (level + gain * (out - float(out[region].mean())) - out)
    out = np.clip(out, 0, None) ** p.gamma
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
        prob: probability of a random curve and of moving tissues; bias, blur and noise are always drawn.
        tissue_prob: probability for each tissue of being moved to a level of its own.
        tissue_level: (low, high) of that gray level, 1 being the slice's 99th percentile.
        tissue_gain: (low, high) factor of the texture within a moved tissue.
        log_gamma: the exponent is exp(+- this).
        bias: +- coefficients of the quadratic bias field (log scale).
        blur_px: largest Gaussian sigma in pixels.
        noise: largest noise as a share of the 99th percentile.
        tissues: number of label ids.

    Randomness: all of the above, drawn with ``self.R``; the noise by a seed that is drawn.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        prob: float,
        tissue_prob: float,
        tissue_level: tuple[float, float],
        tissue_gain: tuple[float, float],
        log_gamma: float,
        bias: float,
        blur_px: float,
        noise: float,
        tissues: int = 3,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.prob, self.tissue_prob = prob, tissue_prob
        self.tissue_level, self.tissue_gain = tissue_level, tissue_gain
        self.log_gamma, self.bias, self.blur_px, self.noise = log_gamma, bias, blur_px, noise
        self.tissues = tissues

    def draw(self) -> ContrastParameters:
        """Draw the parameters for one slice."""
        n, strong = self.tissues, self.R.rand() < self.prob
        knots = self.R.uniform(0, 1, len(CURVE_AT))
        knots[0] = 0.1 * knots[0]
        mix = self.R.uniform(0, 1) if strong else 0.0
        moved = self.R.rand(n) < self.tissue_prob
        level = np.where(moved & strong, self.R.uniform(*self.tissue_level, n), np.nan)
        return ContrastParameters(
            curve=tuple((1 - mix) * CURVE_AT + mix * knots),
            tissue_level=tuple(level),
            tissue_gain=tuple(self.R.uniform(*self.tissue_gain, n)),
            gamma=float(np.exp(self.R.uniform(-1, 1) * self.log_gamma)),
            bias=tuple(self.R.uniform(-1, 1, 5) * self.bias),
            blur_px=float(self.R.uniform(0, self.blur_px)) if self.R.rand() < 0.5 else 0.0,
            noise=float(self.R.uniform(0, self.noise)),
            noise_seed=int(self.R.randint(2**31 - 1)),
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image, label = self.keys
        changed = apply_contrast(
            np.asarray(result[image][0], np.float32),
            np.asarray(result[label][0]).astype(np.int16),
            self.draw(),
        )
        result[image] = torch.from_numpy(np.ascontiguousarray(changed))[None]
        return result

"""Intensity scaling for the detector: one slice, robust to the scanner's arbitrary units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform

__all__ = ["SlicePercentileScaled", "slice_percentile_scale"]


def slice_percentile_scale(image: torch.Tensor, percentile: float, ceiling: float = 2.0) -> torch.Tensor:
    """Divide each slice by a percentile of its own nonzero pixels.

    Args:
        image: ``(..., H, W)``, any unit, zero outside the field of view.
        percentile: in (0, 100].
        ceiling: larger results are cut here: vessels and fat next to a coil may be far brighter than the
            spine.

    Returns:
        float32 tensor of the same shape; an all-zero slice stays zero. Deterministic.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be in (0, 100], got {percentile}")
    flat = image.float().reshape(-1, image.shape[-2] * image.shape[-1])
    scale = torch.ones(len(flat), 1, device=flat.device)
    for index, row in enumerate(flat):
        seen = row[row > 0]
        if len(seen):
            scale[index] = seen.kthvalue(max(1, round(percentile / 100 * len(seen)))).values
    return (flat / scale).clamp(0, ceiling).reshape(image.shape)


class SlicePercentileScaled(MapTransform):
    """Dictionary version of :func:`slice_percentile_scale`."""

    def __init__(
        self, keys: Hashable | tuple[Hashable, ...], percentile: float, ceiling: float = 2.0
    ) -> None:
        super().__init__(keys)
        self.percentile, self.ceiling = percentile, ceiling

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = slice_percentile_scale(result[key], self.percentile, self.ceiling)
        return result

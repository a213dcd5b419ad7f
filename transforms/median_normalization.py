"""Intensities slice by slice, so that the median inside a reference region becomes a given value.

MR intensities have no unit, and a surface coil makes them fall off with depth. The papers take the vertebral
bodies beside a disc as reference: their median becomes 0.5 in each slice, the rest follows linearly and is
clipped to [0, 1] [jamaludin2016spinenet, Disc volume extraction], [jamaludin2017ssl, Sec. 2.1], [D-0018].

Conventions: images ``(C, D, H, W)``, D the slices; intensities are magnitudes (zero or more).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

__all__ = ["MedianNormalization", "MedianNormalizationd", "fill_medians", "middle_value"]

logger = logging.getLogger(__name__)


def middle_value(values: torch.Tensor) -> torch.Tensor:
    """Median along the last axis, the mean of the two middle values where their number is even.

    Args:
        values: ``(..., n)``, n at least 1. ``torch.median`` would give the lower of the two.

    Returns:
        ``(...)``.
    """
    return (values.median(dim=-1).values - (-values).median(dim=-1).values) / 2


def fill_medians(
    values: Sequence[torch.Tensor | None], volume: torch.Tensor, name: str = "volume"
) -> tuple[torch.Tensor, torch.Tensor]:
    """One reference median a channel and slice, with a defined answer where a slice has none.

    A slice without reference pixels, or whose median is not above zero, takes the median of all reference
    pixels of the volume; where the whole volume has none, the median of its positive voxels [D-0018]. Each
    such slice is marked and logged.

    Args:
        values: for each slice the reference intensities ``(C, n)``, or None where the slice is padding.
        volume: ``(C, D, H, W)``, for the last resort.
        name: what is being normalized, for the log.

    Returns:
        Medians ``(C, D)`` (NaN for padding slices) and a boolean ``(D,)``: True where a fallback was used.

    Raises:
        ValueError: if a channel of the volume has no positive voxel either.
    """
    medians = torch.full(volume.shape[:2], float("nan"), dtype=volume.dtype, device=volume.device)
    fallback = torch.zeros(volume.shape[1], dtype=torch.bool)
    for index, found in enumerate(values):
        if found is None:
            continue
        medians[:, index] = middle_value(found) if found.shape[1] else 0.0
        fallback[index] = not bool((medians[:, index] > 0).all())
    if fallback.any():
        pooled = torch.cat([v for v in values if v is not None], dim=1)
        for channel in range(volume.shape[0]):
            whole = middle_value(pooled[channel]) if pooled.shape[1] else pooled.new_zeros(())
            if not bool(whole > 0):
                positive = volume[channel][volume[channel] > 0]
                if not positive.numel():
                    raise ValueError(f"{name} must hold a positive intensity to be normalized, got none")
                whole = middle_value(positive)
            bad = fallback.to(volume.device) & ~(medians[channel] > 0)
            medians[channel, bad] = whole
        logger.warning(
            "%s: no usable reference pixels in slices %s; the median of the whole volume is used there",
            name,
            fallback.nonzero().flatten().tolist(),
        )
    return medians, fallback


class MedianNormalization(Transform):
    """Scale each slice so that its reference median becomes ``median``, then clip.

    ``out = clip(image * median / m_d)``, with ``m_d`` the median of slice d inside the reference region.

    Args:
        median: what the reference's median becomes, above 0 (the papers: 0.5).
        clip: lowest and highest value of the result, or None for no clipping (the papers: 0 and 1).

    Raises:
        ValueError: if ``median`` is not above 0 or ``clip`` is not increasing.

    Randomness:
        Deterministic.

    Example:
        >>> import torch
        >>> from siamed.transforms.median_normalization import MedianNormalization
        >>> image = torch.tensor([10.0, 20.0, 30.0, 80.0]).reshape(1, 1, 2, 2)
        >>> mask = torch.tensor([True, True, True, False]).reshape(1, 1, 2, 2)
        >>> MedianNormalization()(image, mask).flatten().tolist()
        [0.25, 0.5, 0.75, 1.0]
    """

    def __init__(self, median: float = 0.5, clip: Sequence[float] | None = (0.0, 1.0)) -> None:
        if not median > 0:
            raise ValueError(f"median must be above 0, got {median}")
        if clip is not None and (len(clip) != 2 or not clip[0] < clip[1]):
            raise ValueError(f"clip must be (lowest, highest) with lowest below highest, got {tuple(clip)}")
        self.median = float(median)
        self.clip = None if clip is None else (float(clip[0]), float(clip[1]))

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Normalize by the pixels of a mask.

        Args:
            image: ``(C, D, H, W)``.
            mask: ``(1, D, H, W)``, non-zero inside the reference region.

        Returns:
            ``(C, D, H, W)`` floating point.

        Raises:
            ValueError: if the shapes do not agree or the image holds no positive voxel.
        """
        if image.ndim != 4 or tuple(mask.shape) != (1, *image.shape[1:]):
            raise ValueError(
                f"mask must have shape (1, D, H, W) for an image (C, D, H, W), got {tuple(mask.shape)} "
                f"for {tuple(image.shape)}"
            )
        image = image if image.is_floating_point() else image.float()
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        inside = (mask.as_tensor() if isinstance(mask, MetaTensor) else mask)[0] != 0
        values = [plain[:, d][:, inside[d]] for d in range(plain.shape[1])]
        return self.scale(image, fill_medians(values, plain, "image")[0])

    def scale(self, image: torch.Tensor, medians: torch.Tensor) -> torch.Tensor:
        """Normalize by known medians.

        Args:
            image: ``(C, D, H, W)``.
            medians: ``(C, D)``; a slice whose median is NaN becomes the lower clip bound (or zero).

        Returns:
            ``(C, D, H, W)``.
        """
        factor = torch.nan_to_num(self.median / medians, nan=0.0)[..., None, None]
        out = image * factor
        return out if self.clip is None else out.clamp(*self.clip)


class MedianNormalizationd(MapTransform):
    """Dictionary version of :class:`MedianNormalization`.

    Args:
        keys: images to normalize.
        mask_key: key of the reference mask, shared by all keys.
        median: as in :class:`MedianNormalization`.
        clip: as in :class:`MedianNormalization`.
        allow_missing_keys: do not raise where a key is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable,
        median: float = 0.5,
        clip: Sequence[float] | None = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.normalize = MedianNormalization(median, clip)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.normalize(d[key], d[self.mask_key])
        return d

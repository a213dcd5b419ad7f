"""Intervertebral discs, cut out of a sagittal scan as the papers cut them: 9 x 112 x 224.

Scaled by the disc's width, rotated in the sagittal plane so that the disc lies horizontal, centered on its
middle slice, with about 40 % of each adjacent vertebra; the median of both bodies becomes 0.5
[jamaludin2016spinenet, Disc volume extraction]. See :mod:`siamed.transforms.extract_volume` for conventions
and decisions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor

from siamed.transforms import geometry
from siamed.transforms.extract_volume import (
    CornersByVoxel,
    Cut,
    ExtractVolume,
    ExtractVolumed,
    middle_slice_for,
    one_each,
    slice_range,
)
from siamed.transforms.geometry import Corners
from siamed.transforms.median_normalization import MedianNormalization

__all__ = ["DISC_SIZE", "DISC_WIDTH_FRACTION", "ExtractDisc", "ExtractDiscd"]

DISC_SIZE = (9, 112, 224)
DISC_WIDTH_FRACTION = 0.50  # share of the columns that the disc's width takes [D-0015]


class ExtractDisc(ExtractVolume):
    """Cut the volume of one intervertebral disc from the corners of its two vertebral bodies.

    The disc is the quadrilateral between the lower edge of the upper body and the upper edge of the lower
    body; it lies horizontal and centered in the result. With the default ``width_fraction`` about 40 % of
    each adjacent vertebra is in view [D-0015]. Intensities: the pooled median of both bodies becomes 0.5 in
    each slice. Everything else as in ``ExtractVertebralBody``.

    Args:
        spatial_size: (D, H, W) of the volume.
        width_fraction: share of the columns that the disc's width takes, in (0, 1] [D-0015].
        normalize: see ``ExtractVertebralBody``.
        mode: "bilinear", or "nearest" for label maps.
        antialias: see ``ExtractVertebralBody``.
        slice_spacing_mm: see ``ExtractVertebralBody``.

    Randomness:
        Deterministic.

    Example:
        >>> import numpy as np, torch
        >>> from monai.data import MetaTensor
        >>> from siamed.transforms import ExtractDisc
        >>> affine = np.array([[-4.0, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
        >>> image = MetaTensor(torch.rand(1, 5, 96, 96) + 1, affine=affine)
        >>> upper = np.array([[-8, -30, -10], [-8, -62, -10], [-8, -62, -36], [-8, -30, -36.0]])
        >>> tuple(ExtractDisc()(image, upper, upper - [0, 0, 36]).shape)
        (1, 9, 112, 224)
    """

    def __init__(
        self,
        spatial_size: Sequence[int] = DISC_SIZE,
        width_fraction: float = DISC_WIDTH_FRACTION,
        normalize: MedianNormalization | bool = True,
        mode: str = "bilinear",
        antialias: bool = True,
        slice_spacing_mm: float | None = None,
    ) -> None:
        super().__init__(spatial_size, width_fraction, normalize, mode, antialias, slice_spacing_mm)

    @classmethod
    def with_margin(cls, margin_px: Sequence[int], slices: int = DISC_SIZE[0]) -> ExtractDisc:
        """Cut discs at the same scale with a margin around the region, in which a view can move.

        Args:
            margin_px: rows and columns added at each side.
            slices: of the volume.
        """
        height, width = (n + 2 * m for n, m in zip(DISC_SIZE[1:], margin_px, strict=True))
        return cls((slices, height, width), DISC_WIDTH_FRACTION * DISC_SIZE[2] / width)

    def __call__(  # type: ignore[override]
        self,
        image: MetaTensor,
        upper_corners_mm: Corners,
        lower_corners_mm: Corners,
        middle_slice: int | None = None,
        slices: Sequence[int] | None = None,
        mode: str | None = None,
        normalize: bool | None = None,
    ) -> MetaTensor:
        """Cut one disc.

        Args:
            image: ``(C, D, H, W)`` in LIP.
            upper_corners_mm: corners of the vertebral body above the disc.
            lower_corners_mm: corners of the vertebral body below the disc.
            middle_slice: slice of the scan that becomes the middle; None takes it from the corners.
            slices: first and last slice of the disc; others stay zero, as in the papers. None keeps them all.
            mode: overrides the constructor's.
            normalize: False leaves the intensities alone, once.

        Returns:
            ``(C, *spatial_size)``.

        Raises:
            TypeError: the image is no MetaTensor.
            ValueError: wrong orientation, malformed corners, the lower body not below the upper one, or a
                disc outside the image.
        """
        pair = (upper_corners_mm, lower_corners_mm)
        return self.many(image, [pair], [middle_slice], [slices], mode, normalize)[0]

    def many(
        self,
        image: MetaTensor,
        pairs: Sequence[tuple[Corners, Corners]],
        middle_slices: Sequence[int | None] | None = None,
        slices: Sequence[Sequence[int] | None] | None = None,
        mode: str | None = None,
        normalize: bool | None = None,
    ) -> list[MetaTensor]:
        """Cut several discs of one scan at once.

        Args:
            image: ``(C, D, H, W)`` in LIP.
            pairs: for each disc the corners of its (upper, lower) vertebral body.
            middle_slices: for each disc, see :meth:`__call__`.
            slices: for each disc, see :meth:`__call__`.
            mode: overrides the constructor's.
            normalize: False leaves the intensities alone, once.

        Returns:
            One ``(C, *spatial_size)`` MetaTensor a disc.
        """
        affine = self._affine_of(image)
        # A body borders two discs: convert it and find its pixels once. The corners are kept beside the
        # result because an id is only unique while its object lives.
        known: dict[int, tuple[Corners, CornersByVoxel]] = {}
        middles = one_each("middle_slices", middle_slices or [None] * len(pairs), pairs)
        ranges = one_each("slices", slices or [None] * len(pairs), pairs)
        cuts = []
        for i, pair in enumerate(pairs):
            bodies = []
            for corners, name in zip(pair, ("upper_corners_mm", "lower_corners_mm"), strict=True):
                if id(corners) not in known:
                    voxels = geometry.corner_voxels(corners, affine, f"{name} of disc {i}")
                    known[id(corners)] = (corners, voxels)
                bodies.append(known[id(corners)][1])
            middle = middle_slice_for(middles[i], *bodies)
            upper, lower = (geometry.nearest_quad(body, middle) for body in bodies)
            quad = _disc_quad(upper, lower, f"disc {i}")
            cuts.append(Cut(f"disc {i}", quad, middle, tuple(bodies), slice_range(ranges[i])))
        return self._cut_all(image, affine, cuts, mode, normalize)


def _disc_quad(upper: np.ndarray, lower: np.ndarray, name: str) -> np.ndarray:
    """The quadrilateral between two bodies ``(4, 2)``, in the order AS, PS, PI, AI of the disc itself."""
    if not lower[:, 0].mean() > upper[:, 0].mean():
        raise ValueError(
            f"lower_corners_mm of {name} must lie inferior to upper_corners_mm, got mean rows "
            f"{lower[:, 0].mean():.1f} and {upper[:, 0].mean():.1f}"
        )
    return np.stack([upper[3], upper[2], lower[1], lower[0]])


class ExtractDiscd(ExtractVolumed):
    """Dictionary version of :class:`ExtractDisc`; ``Invertd`` brings a map back onto the scan.

    Args:
        keys: images on the same grid; each is replaced by its volume.
        upper_key: key of the upper body's corners.
        lower_key: key of the lower body's corners.
        spatial_size: as in :class:`ExtractDisc`.
        width_fraction: as in :class:`ExtractDisc`.
        mode: one for all keys, or one a key ("nearest" for labels).
        normalize: one for all keys, or one a key (False for labels).
        antialias: as in :class:`ExtractDisc`.
        slice_spacing_mm: as in :class:`ExtractDisc`.
        middle_slice_key: key of the middle slice; None takes it from the corners.
        slices_key: key of (first, last) slice; None keeps all slices.
        allow_missing_keys: do not raise where an image key is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        upper_key: Hashable = "upper_corners_mm",
        lower_key: Hashable = "lower_corners_mm",
        spatial_size: Sequence[int] = DISC_SIZE,
        width_fraction: float = DISC_WIDTH_FRACTION,
        mode: str | Sequence[str] = "bilinear",
        normalize: bool | Sequence[bool] = True,
        antialias: bool = True,
        slice_spacing_mm: float | None = None,
        middle_slice_key: Hashable | None = None,
        slices_key: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        extract = ExtractDisc(
            spatial_size, width_fraction, antialias=antialias, slice_spacing_mm=slice_spacing_mm
        )
        super().__init__(keys, extract, mode, normalize, middle_slice_key, slices_key, allow_missing_keys)
        self.upper_key = upper_key
        self.lower_key = lower_key

    def _corners(self, data: Mapping[Hashable, torch.Tensor]) -> tuple:
        return data[self.upper_key], data[self.lower_key]

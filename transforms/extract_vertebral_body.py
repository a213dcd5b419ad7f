"""Vertebral bodies, cut out of a sagittal scan as the papers cut them: 9 x 224 x 224.

Scaled by the body's width, rotated in the sagittal plane so that the body lies horizontal, centered on its
middle slice; the median of the bodies above and below becomes 0.5 [jamaludin2017ssl, Sec. 2.1]. See
:mod:`siamed.transforms.extract_volume` for conventions and decisions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor

from siamed.transforms import geometry
from siamed.transforms.extract_volume import (
    Cut,
    ExtractVolume,
    ExtractVolumed,
    middle_slice_for,
    one_each,
    slice_range,
)
from siamed.transforms.geometry import Corners
from siamed.transforms.median_normalization import MedianNormalization

__all__ = ["BODY_SIZE", "BODY_WIDTH_FRACTION", "ExtractVertebralBody", "ExtractVertebralBodyd"]

BODY_SIZE = (9, 224, 224)
BODY_WIDTH_FRACTION = 0.50  # that of the discs, so that both kinds of volume share one scale [D-0015]


class ExtractVertebralBody(ExtractVolume):
    """Cut the volume of one vertebral body: horizontal, centered, in units of its width.

    Each slice of the result shows one slice of the scan, as acquired; slices beyond the scan's ends are zero.
    Per slice, the median of the reference bodies (the papers: the one above and the one below) becomes 0.5
    and the rest is clipped to [0, 1]. The result's ``meta`` says the medians used (``reference_median``,
    ``(C, D)``, NaN for padding) and where a fallback was needed (``reference_fallback``, ``(D,)``).

    Args:
        spatial_size: (D, H, W) of the volume: slices, rows, columns.
        width_fraction: share of the columns that the body's width takes, in (0, 1] [D-0015].
        normalize: True for :class:`MedianNormalization` with the papers' values, an instance of it, or False.
        mode: "bilinear", or "nearest" for label maps.
        antialias: average over the pixel where the volume is coarser than the scan [D-0017].
        slice_spacing_mm: take every n-th slice so that slices lie about this far apart (thin-slice scans);
            None takes every slice [D-0016].

    Raises:
        ValueError: an argument out of its range.

    Randomness:
        Deterministic.

    Example:
        >>> import numpy as np, torch
        >>> from monai.data import MetaTensor
        >>> from siamed.transforms import ExtractVertebralBody
        >>> affine = np.array([[-4.0, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
        >>> image = MetaTensor(torch.rand(1, 5, 96, 96) + 1, affine=affine)
        >>> corners = [[-8, -30, -30], [-8, -62, -30], [-8, -62, -56], [-8, -30, -56]]
        >>> tuple(ExtractVertebralBody()(image, corners).shape)
        (1, 9, 224, 224)
    """

    def __init__(
        self,
        spatial_size: Sequence[int] = BODY_SIZE,
        width_fraction: float = BODY_WIDTH_FRACTION,
        normalize: MedianNormalization | bool = True,
        mode: str = "bilinear",
        antialias: bool = True,
        slice_spacing_mm: float | None = None,
    ) -> None:
        super().__init__(spatial_size, width_fraction, normalize, mode, antialias, slice_spacing_mm)

    def __call__(  # type: ignore[override]
        self,
        image: MetaTensor,
        corners_mm: Corners,
        reference_corners_mm: Sequence[Corners] | None = None,
        middle_slice: int | None = None,
        slices: Sequence[int] | None = None,
        mode: str | None = None,
        normalize: bool | None = None,
    ) -> MetaTensor:
        """Cut one body.

        Args:
            image: ``(C, D, H, W)`` in LIP.
            corners_mm: the body's corners.
            reference_corners_mm: corners of the bodies whose median becomes 0.5; None takes the body itself.
            middle_slice: slice of the scan that becomes the middle; None takes it from the corners.
            slices: first and last slice of the body; others stay zero, as in the papers. None keeps them all.
            mode: overrides the constructor's.
            normalize: False leaves the intensities alone, once.

        Returns:
            ``(C, *spatial_size)``.

        Raises:
            TypeError: the image is no MetaTensor.
            ValueError: wrong orientation, malformed corners, or a body outside the image.
        """
        references = None if reference_corners_mm is None else [list(reference_corners_mm)]
        return self.many(image, [corners_mm], references, [middle_slice], [slices], mode, normalize)[0]

    def many(
        self,
        image: MetaTensor,
        bodies: Sequence[Corners],
        references: Sequence[Sequence[Corners]] | None = None,
        middle_slices: Sequence[int | None] | None = None,
        slices: Sequence[Sequence[int] | None] | None = None,
        mode: str | None = None,
        normalize: bool | None = None,
    ) -> list[MetaTensor]:
        """Cut several bodies of one scan at once.

        Args:
            image: ``(C, D, H, W)`` in LIP.
            bodies: corners of each body, from superior to inferior.
            references: for each body the bodies it is normalized by; None takes its neighbors in the list (a
                single body: itself).
            middle_slices: for each body, see :meth:`__call__`.
            slices: for each body, see :meth:`__call__`.
            mode: overrides the constructor's.
            normalize: False leaves the intensities alone, once.

        Returns:
            One ``(C, *spatial_size)`` MetaTensor a body.
        """
        affine = self._affine_of(image)
        own = [geometry.corner_voxels(c, affine, f"corners_mm of body {i}") for i, c in enumerate(bodies)]
        if references is None:
            around = [own[max(i - 1, 0) : i] + own[i + 1 : i + 2] or [own[i]] for i in range(len(own))]
        else:
            name = "reference_corners_mm of body"
            around = [
                [geometry.corner_voxels(c, affine, f"{name} {i}") for c in given] or [own[i]]
                for i, given in enumerate(one_each("references", references, own))
            ]
        middles = one_each("middle_slices", middle_slices or [None] * len(own), own)
        ranges = one_each("slices", slices or [None] * len(own), own)
        cuts = []
        for i, corners in enumerate(own):
            middle = middle_slice_for(middles[i], corners)
            quad = geometry.nearest_quad(corners, middle)
            cuts.append(Cut(f"body {i}", quad, middle, tuple(around[i]), slice_range(ranges[i])))
        return self._cut_all(image, affine, cuts, mode, normalize)


class ExtractVertebralBodyd(ExtractVolumed):
    """Dictionary version of :class:`ExtractVertebralBody`; ``Invertd`` brings a map back onto the scan.

    Args:
        keys: images on the same grid; each is replaced by its volume.
        corners_key: key of the body's corners.
        reference_key: key of the list of reference corners; None normalizes by the body itself.
        spatial_size: as in :class:`ExtractVertebralBody`.
        width_fraction: as in :class:`ExtractVertebralBody`.
        mode: one for all keys, or one a key ("nearest" for labels).
        normalize: one for all keys, or one a key (False for labels).
        antialias: as in :class:`ExtractVertebralBody`.
        slice_spacing_mm: as in :class:`ExtractVertebralBody`.
        middle_slice_key: key of the middle slice; None takes it from the corners.
        slices_key: key of (first, last) slice; None keeps all slices.
        allow_missing_keys: do not raise where an image key is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        corners_key: Hashable = "corners_mm",
        reference_key: Hashable | None = None,
        spatial_size: Sequence[int] = BODY_SIZE,
        width_fraction: float = BODY_WIDTH_FRACTION,
        mode: str | Sequence[str] = "bilinear",
        normalize: bool | Sequence[bool] = True,
        antialias: bool = True,
        slice_spacing_mm: float | None = None,
        middle_slice_key: Hashable | None = None,
        slices_key: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        extract = ExtractVertebralBody(
            spatial_size, width_fraction, antialias=antialias, slice_spacing_mm=slice_spacing_mm
        )
        super().__init__(keys, extract, mode, normalize, middle_slice_key, slices_key, allow_missing_keys)
        self.corners_key = corners_key
        self.reference_key = reference_key

    def _corners(self, data: Mapping[Hashable, torch.Tensor]) -> tuple:
        return data[self.corners_key], None if self.reference_key is None else data[self.reference_key]

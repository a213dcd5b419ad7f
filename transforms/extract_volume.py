"""What the extraction of a vertebral body and of a disc share: cut, normalize, trace, and the way back.

The volumes are those of [jamaludin2016spinenet, Disc volume extraction] and [jamaludin2017ssl, Sec. 2.1];
what the papers leave open is settled in [D-0015] (region), [D-0016] (slices), [D-0017] (resampling), [D-0018]
(intensities) and [D-0019] (the way back).

Conventions. Input: MetaTensor ``(C, D, H, W)`` in orientation LIP with its voxel -> RAS mm affine. Output:
MetaTensor ``(C, 9, 224, 224)`` or ``(C, 9, 112, 224)``: slices to the patient's left, rows from superior to
inferior across the disc, columns from anterior to posterior along it; its affine maps its voxels to RAS mm,
padding slices included. Corners: :data:`siamed.transforms.geometry.Corners`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, ensure_tuple_rep

from siamed.transforms import geometry
from siamed.transforms.in_plane_resample import paste_in_plane, resample_in_plane, source_slices
from siamed.transforms.median_normalization import MedianNormalization, fill_medians

__all__ = [
    "VIEW_MARGIN_PX",
    "Cut",
    "ExtractVolume",
    "ExtractVolumed",
    "map_to_scan",
    "middle_slice_for",
    "one_each",
    "slice_range",
]

VIEW_MARGIN_PX = (24, 48)
"""Rows and columns around each side of a volume in which the papers' views move [D-0037]."""

CornersByVoxel = dict[int | None, np.ndarray]  # slice or None -> (4, 3) voxels, see geometry.corner_voxels


@dataclass(frozen=True)
class Cut:
    """What one volume needs: where it lies, and whose median it is normalized by."""

    name: str
    quad: np.ndarray
    middle_slice: int
    references: tuple[CornersByVoxel, ...]
    keep: tuple[int, int] | None


class ExtractVolume(InvertibleTransform):
    """What both extractions share. See ``ExtractVertebralBody`` for the arguments."""

    def __init__(
        self,
        spatial_size: Sequence[int],
        width_fraction: float,
        normalize: MedianNormalization | bool = True,
        mode: str = "bilinear",
        antialias: bool = True,
        slice_spacing_mm: float | None = None,
    ) -> None:
        size = tuple(int(s) for s in spatial_size)
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"spatial_size must be (D, H, W), each at least 1, got {tuple(spatial_size)}")
        if not 0 < width_fraction <= 1:
            raise ValueError(f"width_fraction must be above 0 and at most 1, got {width_fraction}")
        if mode not in ("bilinear", "nearest"):
            raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
        if slice_spacing_mm is not None and not slice_spacing_mm > 0:
            raise ValueError(f"slice_spacing_mm must be above 0 or None, got {slice_spacing_mm}")
        self.spatial_size: tuple[int, int, int] = size
        self.width_fraction = float(width_fraction)
        self.normalization = MedianNormalization() if normalize is True else (normalize or None)
        self.mode = mode
        self.antialias = antialias
        self.slice_spacing_mm = slice_spacing_mm

    def _affine_of(self, image: torch.Tensor) -> np.ndarray:
        if not isinstance(image, MetaTensor):
            raise TypeError(f"image must be a monai.data.MetaTensor, got {type(image).__name__}")
        if image.ndim != 4 or 0 in image.shape:
            raise ValueError(f"image must have shape (C, D, H, W), got {tuple(image.shape)}")
        return geometry.check_lip_affine(image.affine.cpu().numpy())

    def _slice_step(self, affine: np.ndarray) -> int:
        if self.slice_spacing_mm is None:
            return 1
        return max(1, round(self.slice_spacing_mm / float(np.linalg.norm(affine[:3, 0]))))

    def _transform_of(self, cut: Cut, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Volume index -> image index, after the last checks."""
        basis = geometry.in_plane_basis(affine)
        box = geometry.quad_box(cut.quad, basis, cut.name)
        inside = (box.center >= -0.5) & (box.center <= np.asarray(shape[1:]) - 0.5)
        if not inside.all() or not 0 <= cut.middle_slice < shape[0]:
            raise ValueError(
                f"{cut.name} must have its center inside the image of {tuple(shape)} voxels, got "
                f"{(cut.middle_slice, *box.center.round(1).tolist())}"
            )
        return geometry.box_transform(
            box, basis, cut.middle_slice, self.spatial_size, self.width_fraction, self._slice_step(affine)
        )

    def _cut_all(
        self,
        image: MetaTensor,
        affine: np.ndarray,
        cuts: Sequence[Cut],
        mode: str | None,
        normalize: bool | None,
    ) -> list[MetaTensor]:
        """Cut, normalize and trace all volumes of one scan, with one resampling a group of equal slices."""
        mode = self.mode if mode is None else mode
        plain = image.as_tensor()
        plain = plain if plain.dtype in (torch.float32, torch.float64) else plain.float()
        transforms = [self._transform_of(cut, affine, plain.shape[1:]) for cut in cuts]
        keep = [cut.keep for cut in cuts]
        volumes = resample_in_plane(plain, transforms, self.spatial_size, mode, self.antialias, keep)
        active = self.normalization if normalize is not False else None
        inside: dict[tuple[int, int | None], tuple[np.ndarray, np.ndarray]] = {}
        results = []
        for cut, transform, volume in zip(cuts, transforms, volumes, strict=True):
            extra = {"src_affine": affine, "transform": transform, "mode": mode, "keep": cut.keep}
            facts = {}
            if active is not None:
                medians, fallback = self._medians(plain, volume, cut, transform, inside)
                volume = active.scale(volume, medians)
                facts = {"reference_median": medians.cpu(), "reference_fallback": fallback}
            results.append(self._traced(volume, image, affine @ transform, transform, extra, facts))
        return results

    def _medians(
        self,
        plain: torch.Tensor,
        volume: torch.Tensor,
        cut: Cut,
        transform: np.ndarray,
        inside: dict[tuple[int, int | None], tuple[np.ndarray, np.ndarray]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference medians ``(C, D)`` from the source slices; ``inside`` remembers each body's pixels."""
        values: list[torch.Tensor | None] = []
        for source in source_slices(transform, self.spatial_size[0], plain.shape[1]):
            if source is None or (cut.keep is not None and not cut.keep[0] <= source <= cut.keep[1]):
                values.append(None)
                continue
            found = []
            for reference in cut.references:
                quad = geometry.quad_in_slice(reference, source)
                if quad is None:
                    continue
                key = (id(reference), None if None in reference else source)
                if key not in inside:
                    inside[key] = geometry.pixels_inside(quad, (plain.shape[2], plain.shape[3]))
                rows, columns = inside[key]
                found.append(plain[:, source][:, rows, columns])
            values.append(torch.cat(found, dim=1) if found else plain.new_zeros((plain.shape[0], 0)))
        return fill_medians(values, volume, cut.name)

    def _traced(
        self,
        volume: torch.Tensor,
        image: MetaTensor,
        affine: np.ndarray,
        transform: np.ndarray,
        extra: dict,
        facts: dict,
    ) -> MetaTensor:
        out = MetaTensor(volume).copy_meta_from(image)
        out = self.push_transform(
            out, affine=torch.from_numpy(transform), orig_size=tuple(image.shape[1:]), extra_info=extra
        )
        out.affine = torch.from_numpy(affine)
        out.meta["spatial_shape"] = np.array(self.spatial_size)
        out.meta.update(facts)
        return out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Bring a map over the volume (saliency, a segmentation) back onto the scan's grid.

        Geometry only: intensities are not scaled back, padding slices are dropped, and what lies outside the
        volume is zero [D-0019].

        Args:
            data: ``(C, *spatial_size)`` MetaTensor that carries the volume's trace (``Invertd`` gives it).

        Returns:
            ``(C, D, H, W)`` on the scan's grid, with its affine.

        Raises:
            ValueError: if the map has another size than the volume.
        """
        return _paste(data, self.pop_transform(data), self.spatial_size, self.antialias)


def _paste(data: torch.Tensor, record: Mapping, spatial_size: Sequence[int], antialias: bool) -> MetaTensor:
    if data.ndim != 4 or tuple(data.shape[1:]) != tuple(spatial_size):
        raise ValueError(f"data must have shape (C, *{tuple(spatial_size)}), got {tuple(data.shape)}")
    extra = record[TraceKeys.EXTRA_INFO]
    plain = data.as_tensor() if isinstance(data, MetaTensor) else data
    plain = plain if plain.dtype in (torch.float32, torch.float64) else plain.float()
    depth, height, width = (int(s) for s in record[TraceKeys.ORIG_SIZE])
    size = (depth, height, width)
    transform = np.asarray(extra["transform"])
    pasted = paste_in_plane(plain, transform, size, extra["mode"], antialias, extra["keep"])
    out = MetaTensor(pasted)
    if isinstance(data, MetaTensor):
        out.copy_meta_from(data)
    out.affine = torch.as_tensor(np.asarray(extra["src_affine"]))
    out.meta["spatial_shape"] = np.array(size)
    return out


def map_to_scan(data: torch.Tensor, volume: MetaTensor, mode: str = "bilinear") -> MetaTensor:
    """Bring a map over an extracted volume back onto the scan, without the transform object.

    For maps that a network gives as plain tensors. Undoes the extraction alone: the result lies on the LIP
    grid the volume was cut from.

    Args:
        data: ``(C, *volume.shape[1:])``.
        volume: what ``ExtractDisc`` or ``ExtractVertebralBody`` returned; its trace is read.
        mode: "bilinear" or "nearest" (for label maps).

    Returns:
        ``(C, D, H, W)`` on the scan's grid, with its affine.

    Raises:
        ValueError: if the volume's last traced operation is not an extraction, or the sizes do not agree.
    """
    records = volume.applied_operations
    names = ("ExtractDisc", "ExtractVertebralBody")
    if not records or records[-1].get(TraceKeys.CLASS_NAME) not in names:
        last = records[-1].get(TraceKeys.CLASS_NAME) if records else None
        raise ValueError(f"volume must come straight from one of {names}, its last operation is {last}")
    record = dict(records[-1])
    record[TraceKeys.EXTRA_INFO] = {**record[TraceKeys.EXTRA_INFO], "mode": mode}
    out = _paste(data, record, volume.shape[1:], antialias=True)
    out.applied_operations = list(records[:-1])
    return out


def middle_slice_for(given: int | None, *corners: CornersByVoxel) -> int:
    """The slice that becomes the middle: the one given, else the nearest to the middle of the corners."""
    return int(np.floor(geometry.middle_slice_of(*corners) + 0.5)) if given is None else int(given)


def slice_range(slices: Sequence[int] | None) -> tuple[int, int] | None:
    """(first, last) as whole numbers, or None for all slices; ValueError where they are out of order."""
    if slices is None:
        return None
    if len(slices) != 2 or slices[0] > slices[1]:
        raise ValueError(f"slices must be (first, last) with first at most last, got {tuple(slices)}")
    return int(slices[0]), int(slices[1])


def one_each(name: str, values: Sequence, items: Sequence) -> Sequence:
    """The values, if there is one for each of the items; ValueError names the argument otherwise."""
    if len(values) != len(items):
        raise ValueError(f"{name} must have one entry a volume: {len(items)}, got {len(values)}")
    return values


class ExtractVolumed(MapTransform, InvertibleTransform):
    """What both dictionary versions share."""

    def __init__(
        self,
        keys: KeysCollection,
        extract: ExtractVolume,
        mode: str | Sequence[str],
        normalize: bool | Sequence[bool],
        middle_slice_key: Hashable | None,
        slices_key: Hashable | None,
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.extract: Any = extract
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.normalize = ensure_tuple_rep(normalize, len(self.keys))
        self.middle_slice_key = middle_slice_key
        self.slices_key = slices_key

    def _corners(self, data: Mapping[Hashable, torch.Tensor]) -> tuple:
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        corners = self._corners(d)
        middle = None if self.middle_slice_key is None else d[self.middle_slice_key]
        slices = None if self.slices_key is None else d[self.slices_key]
        for key, mode, normalize in self.key_iterator(d, self.mode, self.normalize):
            d[key] = self.extract(
                d[key], *corners, middle_slice=middle, slices=slices, mode=mode, normalize=normalize
            )
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Bring the maps under the keys back onto the scan, see :meth:`ExtractVolume.inverse`."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.extract.inverse(d[key])
        return d

"""The vertebra detector as a user calls it: a sagittal view goes in, a named column comes out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from siamed.transforms.scale_percentile import slice_percentile_scale

from .decode import DecodeSettings, SliceBody, decode_slices
from .linking import LinkSettings, Track, choose_column, link_slices, missing_between
from .naming import disc_level, name_levels
from .vertebra import Column, Disc, Vertebra

__all__ = ["VertebraDetector"]

log = logging.getLogger(__name__)

_MULTIPLE = 32  # the network halves its input five times
_EDGE_MM = 2.0  # a corner this close to the edge of the scan may lie beyond it
_PARTIAL_SHARE = 0.5
_SACRAL_SHARE = 0.3
_CREDIBLE_SCORE = 0.5
_ZOOM_GAIN = 1.15  # another zoom must be clearly better: the header is right far more often than not


class VertebraDetector:
    """Find and name vertebral bodies in a sagittal view.

    Args:
        network: maps ``(B, 1, H, W)`` slices to ``(B, 19, H, W)``, in evaluation mode.
        view_spacing_mm: in-plane spacing the network was trained at.
        percentile: intensity scaling of its training.
        device: where the network runs.
        decode: thresholds of the decoder.
        link: distances of the linker.
        zooms: enlargements tried on the middle slices; the one that gives the best column is used for all.
            Headers lie about spacing, and children are small.
        batch_size: slices at a time.
    """

    def __init__(
        self,
        network: nn.Module,
        view_spacing_mm: float,
        percentile: float,
        device: str | torch.device = "cpu",
        decode: DecodeSettings | None = None,
        link: LinkSettings | None = None,
        zooms: tuple[float, ...] = (1.0, 0.8, 1.25),
        batch_size: int = 4,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.view_spacing_mm, self.percentile = float(view_spacing_mm), float(percentile)
        self.decode, self.link = decode or DecodeSettings(), link or LinkSettings()
        self.zooms, self.batch_size = tuple(zooms), batch_size

    @classmethod
    def from_bundle(
        cls, bundle: str | Path = "spine_mr_vertebra_detection", device: str | torch.device = "cpu"
    ) -> VertebraDetector:
        """Load network, weights and settings from a bundle (its name, or its folder)."""
        from siamed.pipeline.bundles import bundle_hparams, load_network

        hparams = bundle_hparams(bundle)
        return cls(
            load_network(bundle),
            view_spacing_mm=hparams["view_spacing_mm"],
            percentile=hparams["percentile"],
            device=device,
            decode=DecodeSettings(**hparams.get("decode", {})),
            link=LinkSettings(**hparams.get("link", {})),
        )

    def __call__(self, image: torch.Tensor) -> Column:
        """Detect and name.

        Args:
            image: MetaTensor ``(1, D, H, W)`` in orientation LIP with its voxel -> RAS+ mm affine.

        Returns:
            The column; empty, with a warning, where no vertebra is found.

        Raises:
            ValueError: if the image is not a ``(1, D, H, W)`` tensor with an affine.
        """
        affine = getattr(image, "affine", None)
        if affine is None or image.ndim != 4 or image.shape[0] != 1:
            raise ValueError(
                f"image must be a MetaTensor (1, D, H, W) with an affine, got {type(image).__name__} "
                f"of shape {tuple(image.shape)}"
            )
        matrix = np.asarray(affine, float)
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        volume, pixel_mm = image.as_subclass(torch.Tensor)[0], (float(spacing[1]), float(spacing[2]))
        zoom = self.choose_zoom(volume, pixel_mm, float(spacing[0]))
        tracks = link_slices(
            self.detect_slices(volume, pixel_mm, zoom), pixel_mm, float(spacing[0]), self.link
        )
        chain = self._choose(tracks, volume.shape, pixel_mm)
        column = self._column(chain, matrix, spacing, image.shape[1:])
        if zoom == 1 or not chain:
            return column
        note = (
            f"Bodies are best seen at {zoom:g} times their size: "
            "the pixel spacing may be wrong, or the patient small or tall."
        )
        return Column(column.vertebrae, column.discs, (*column.warnings, note))

    def choose_zoom(self, volume: torch.Tensor, pixel_mm: tuple[float, float], slice_mm: float) -> float:
        """The enlargement at which up to three middle slices of ``(D, H, W)`` give the best column."""
        if len(self.zooms) == 1:
            return self.zooms[0]
        middle = volume.shape[0] // 2
        part = volume[max(0, middle - 1) : middle + 2]
        totals = []
        for zoom in self.zooms:
            tracks = link_slices(self.detect_slices(part, pixel_mm, zoom), pixel_mm, slice_mm, self.link)
            chain = self._choose(tracks, volume.shape, pixel_mm)
            # Enlarged, the sacrum falls into any number of bodies and the edge shows pieces: they do not
            # count. Dim bodies count against a zoom, or one in which discs look like bodies would win.
            whole = [t for t in chain if t.sacral < _SACRAL_SHARE and t.partial <= _PARTIAL_SHARE]
            totals.append(sum(t.score - _CREDIBLE_SCORE for t in whole))
        best = int(np.argmax(totals))
        return self.zooms[best] if totals[best] > _ZOOM_GAIN * max(totals[0], 0.0) else self.zooms[0]

    def _choose(self, tracks: list[Track], shape: torch.Size, pixel_mm: tuple[float, float]) -> list[Track]:
        """The best chain; what looks cut although it lies inside the scan is S1, which tapers, or no body."""
        extent = np.asarray(shape[1:]) * pixel_mm
        kept = [
            t
            for t in tracks
            if t.partial <= _PARTIAL_SHARE
            or t.sacral > _SACRAL_SHARE
            or not _inside(t.quad, extent, _EDGE_MM)
        ]
        return choose_column(kept, self.link)

    @torch.inference_mode()
    def detect_slices(
        self, volume: torch.Tensor, pixel_mm: tuple[float, float], zoom: float = 1.0
    ) -> list[list[SliceBody]]:
        """Bodies of each slice of ``(D, H, W)``, corners as (row, column) in the volume's pixels."""
        view_mm = self.view_spacing_mm / zoom
        size = [
            max(_MULTIPLE, round(n * mm / view_mm)) for n, mm in zip(volume.shape[1:], pixel_mm, strict=True)
        ]
        found: list[list[SliceBody]] = []
        for start in range(0, volume.shape[0], self.batch_size):
            part = volume[start : start + self.batch_size, None].to(self.device, torch.float32)
            view = functional.interpolate(
                part, size=size, mode="bilinear", align_corners=False, antialias=True
            )
            view = slice_percentile_scale(view, self.percentile)
            pad = [-n % _MULTIPLE for n in size]
            maps = self.network(functional.pad(view, (0, pad[1], 0, pad[0])))[:, :, : size[0], : size[1]]
            found += decode_slices(maps, self.decode)
        scale = np.array(volume.shape[1:]) / np.array(size)
        return [
            [SliceBody((b.corners + 0.5) * scale - 0.5, b.score, b.sacral, b.partial) for b in bodies]
            for bodies in found
        ]

    def _column(
        self, chain: list[Track], affine: np.ndarray, spacing: np.ndarray, shape: torch.Size
    ) -> Column:
        if not chain:
            return Column((), (), ("No vertebra was found in this scan.",))
        missing = [missing_between(a, b, self.link) for a, b in zip(chain[:-1], chain[1:], strict=True)]
        guesses, warnings = name_levels([t.sacral for t in chain], missing)
        kept = [
            i
            for i, g in enumerate(guesses)
            if g.level is None or not g.level.startswith("S") or g.level == "S1"
        ]
        chain, guesses, missing = (
            chain[: len(kept)],
            guesses[: len(kept)],
            missing[: len(kept) - 1],
        )  # S2 ends the column
        extent = np.asarray(shape[1:]) * spacing[1:]
        vertebrae = []
        for track, guess in zip(chain, guesses, strict=True):
            vertebrae.append(
                Vertebra(
                    level=guess.level,
                    level_probability=guess.probability,
                    score=track.score,
                    partial=track.partial > _PARTIAL_SHARE or not _inside(track.quad, extent, _EDGE_MM),
                    slice_corners_mm={d: _to_mm(q, d, affine, spacing) for d, q in track.corners.items()},
                    middle_slice=track.middle,
                    flags=guess.flags,
                )
            )
        discs = []
        for i, number in enumerate(missing):
            plates = np.vstack([chain[i].quad[2:], chain[i + 1].quad[:2]])
            if number or not _inside(plates, extent, 0.0):
                continue
            center = (vertebrae[i].corners_mm[2:].mean(0) + vertebrae[i + 1].corners_mm[:2].mean(0)) / 2
            discs.append(Disc(i, i + 1, disc_level(vertebrae[i].level, vertebrae[i + 1].level), center))
        return Column(tuple(vertebrae), tuple(discs), tuple(warnings))


def _inside(points: np.ndarray, extent: np.ndarray, margin: float) -> bool:
    return bool(((points >= margin) & (points <= extent - margin)).all())


def _to_mm(quad_mm: np.ndarray, index: int, affine: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    voxels = np.column_stack([np.full(4, float(index)), quad_mm / spacing[1:]])
    return voxels @ affine[:3, :3].T + affine[:3, 3]

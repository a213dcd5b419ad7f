"""A segmenting network as a user calls it: a scan in, the probability of the structure on its grid out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import SpatialResample
from torch import nn

from .preprocessing import preprocessing

__all__ = ["THRESHOLD", "Segmenter", "window_inferer"]

THRESHOLD = 0.5
"""Probability from which on a voxel is the structure."""

_OVERLAP = 0.25
_SLAB_VOXELS = 16_000_000  # of the scan's grid, resampled at a time: what bounds memory on long scans


def window_inferer(hparams: Mapping[str, Any]) -> SlidingWindowInferer:
    """Windows of the size that the network was trained on, weighed by a Gaussian where they overlap."""
    return SlidingWindowInferer(tuple(hparams["crop"]), sw_batch_size=1, overlap=_OVERLAP, mode="gaussian")


def _window_count(shape: Sequence[int], window: Sequence[int]) -> int:
    """How many windows MONAI lays over a volume."""
    steps = (max(1, int(size * (1 - _OVERLAP))) for size in window)
    return math.prod(
        math.ceil(max(0, whole - size) / step) + 1
        for whole, size, step in zip(shape, window, steps, strict=True)
    )


class Segmenter:
    """Segment scans one after the other with the same network.

    Args:
        network: see :class:`~siamed.networks.dense_unet.DenseUNet`.
        hparams: of its bundle, see :mod:`siamed.pipeline.segmentation.preprocessing`; ``crop`` is the window.
        device: where the network runs.
        tell: told what share of a scan is done, in (0, 1], after each window.
    """

    def __init__(
        self,
        network: nn.Module,
        hparams: Mapping[str, Any],
        device: str | torch.device = "cpu",
        tell: Callable[[float], None] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self._tell = tell
        self._prepare = preprocessing(hparams, load=False)
        self._infer = window_inferer(hparams)
        self._window = tuple(hparams["crop"])

    @classmethod
    def from_bundle(
        cls,
        bundle: str | Path,
        device: str | torch.device = "cpu",
        tell: Callable[[float], None] | None = None,
    ) -> Segmenter:
        """Load network, weights and settings from a bundle (its name, or its folder)."""
        from siamed.pipeline.bundles import bundle_hparams, load_network

        return cls(load_network(bundle), bundle_hparams(bundle), device, tell)

    @torch.inference_mode()
    def __call__(self, image: MetaTensor) -> np.ndarray:
        """Probability of the structure.

        Args:
            image: ``(1, I, J, K)`` with its affine (RAS+ mm).

        Returns:
            ``(I, J, K)`` float32 in [0, 1], on the image's own grid; 0 where the network saw nothing.
        """
        seen = self._prepare({"image": image})["image"]
        logits = self._infer(seen[None].to(self.device).as_tensor(), self._counted(seen.shape[1:]))
        found = MetaTensor(torch.sigmoid(logits[0].float()).cpu(), affine=seen.affine)
        return _on_grid(found, image)

    def _counted(self, shape: Sequence[int]) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network, telling after each window of a volume how far it is."""
        if self._tell is None:
            return self.network
        tell, total, done = self._tell, _window_count(shape, self._window), 0

        def network(window: torch.Tensor) -> torch.Tensor:
            nonlocal done
            found = self.network(window)
            done += 1
            tell(done / total)
            return found

        return network


def _on_grid(found: MetaTensor, image: MetaTensor) -> np.ndarray:
    """Resample slab by slab along the first axis."""
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=np.float32)
    shape = tuple(int(n) for n in image.shape[1:])
    thick = max(1, _SLAB_VOXELS // (shape[1] * shape[2]))
    affine = np.asarray(image.affine, float)
    result = np.zeros(shape, np.float32)
    for first in range(0, shape[0], thick):
        count = min(thick, shape[0] - first)
        place = affine.copy()
        place[:3, 3] = affine[:3, :3] @ [first, 0, 0] + affine[:3, 3]
        slab = resample(found, dst_affine=torch.from_numpy(place), spatial_size=(count, *shape[1:]))
        result[first : first + count] = np.asarray(slab[0])
    return result

"""How far maps of evidence can be trusted: measures, each with what a map that knows nothing would reach.

randomized weights
    rank correlation of a map with that of the same network after its layers, from the last one down, got new
    random weights [adebayo2018sanity]. A method whose maps survive random weights shows the picture, not the
    network.
pointing
    whether a map has its maximum in a region where a reader would look [zhang2016excitation].
deletion and insertion
    area under the probability of the given grade while pixels, those of the largest evidence first, are taken
    out of the picture (blurred), or put into a blurred one [petsiuk2018rise]: low, and high, are good.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM, SmoothGrad
from scipy import ndimage
from scipy.stats import spearmanr
from torch import nn

from siamed.transforms.rand_volume_view import VolumeView, apply_volume_views, invert_volume_view

from .grader import DiscGrader
from .hotspots import EvidenceHotspots, Hotspots

__all__ = [
    "Mapper",
    "deletion_and_insertion",
    "hotspot_mapper",
    "knowing_nothing",
    "peak_in_region",
    "randomized_weights",
    "stock_mapper",
]

Grades = Sequence[Mapping[str, int]]
Mapper = Callable[[torch.Tensor, Grades], torch.Tensor]
"""Disc volumes ``(N, 1, D, H, W)`` and their grades -> smoothed maps ``(N, T, D, H, W)``."""

_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_BLUR_PX = 10.0


def hotspot_mapper(grader: DiscGrader, hparams: Mapping[str, Any], samples: int) -> Mapper:
    """The hotspots of :class:`~siamed.pipeline.grading.hotspots.EvidenceHotspots`."""
    return lambda volumes, grades: EvidenceHotspots(grader, hparams, samples)(volumes, grades).smoothed()


class _Planar(nn.Module):
    """A grader's network for methods that know two dimensions: slices are channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image[:, None])


def stock_mapper(grader: DiscGrader, method: str, samples: int = 10) -> Mapper:
    """MONAI's GradCAM (of Conv5) or SmoothGrad, on the centered view.

    Args:
        grader: its trunk must be one of 2-D convolutions.
        method: "GradCAM" or "SmoothGrad".
        samples: noisy pictures that SmoothGrad averages.
    """
    planar = _Planar(grader.network).eval()
    last = len(list(grader.network.get_submodule("trunk.layers").children())) - 1

    def one(image: torch.Tensor, column: int) -> torch.Tensor:
        if method == "GradCAM":  # MONAI's own postprocessing gives the least evidence the largest value
            cam = GradCAM(planar, f"network.trunk.layers.{last}", postprocessing=lambda found: found)
            found = cam(image, class_idx=column)
        else:
            found = SmoothGrad(planar, n_samples=samples, verbose=False)(image, index=column)
        return torch.as_tensor(found).detach().float().abs().expand(-1, grader.slices, -1, -1)[0]

    def mapped(volumes: torch.Tensor, grades: Grades) -> torch.Tensor:
        shown, view = grader.seen_slices(volumes.shape[2]), VolumeView()
        middle = volumes[:, 0, shown].float()
        seen = apply_volume_views(middle, [view] * len(middle), grader.field_px, grader.input_size)
        maps = torch.zeros(len(volumes), len(grader.tasks), *volumes.shape[2:])
        for n, given in enumerate(grades):
            for t, column in enumerate(grader.columns(given)):
                found = one(seen[n : n + 1].clone().requires_grad_(), column)
                maps[n, t, shown] = invert_volume_view(found, view, grader.field_px, volumes.shape[3:])
        return Hotspots(grader.tasks, (), maps).smoothed()

    return mapped


def knowing_nothing(grader: DiscGrader, kind: str, seed: int = 0) -> Mapper:
    """Maps that know nothing of the network: "random" smooth noise, or "middle", falling off from there."""

    def mapped(volumes: torch.Tensor, grades: Grades) -> torch.Tensor:
        depth, height, width = volumes.shape[2:]
        shape = (len(volumes), len(grader.tasks), depth, height, width)
        if kind == "random":
            noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
            # Wrapped around, or the border would vary more than the rest.
            maps = torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 0, 4, 4), mode="wrap"))
            maps = maps - maps.min()
        else:
            rows, columns = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
            away = torch.hypot(rows[:, None] / grader.field_px[0], columns / grader.field_px[1])
            maps = (2 - away).expand(shape).clone()
        shown = torch.zeros(depth, dtype=torch.bool)
        shown[grader.seen_slices(depth)] = True
        return maps * shown[:, None, None]

    return mapped


def randomized_weights(
    grader: DiscGrader, hparams: Mapping[str, Any], volumes: torch.Tensor, samples: int
) -> dict[str, float]:
    """Mean rank correlation of hotspots with those of a network with new weights, by how deep they are new.

    Args:
        grader: as trained; a copy of its network gets the new weights.
        hparams: of its bundle.
        volumes: ``(N, 1, D, H, W)``.
        samples: views of a map.

    Returns:
        Layers with new weights -> correlation; first that with a map of other views and no new weights.
    """
    grades = [{task: a["grade"] for task, a in answer.items()} for answer in grader(volumes)]

    def field(network: nn.Module, seed: int = 0) -> np.ndarray:
        judge = copy.copy(grader)
        judge.network = network
        maps = EvidenceHotspots(judge, hparams, samples, seed=seed)(volumes, grades).smoothed()
        return maps[:, :, _field_of(grader, volumes.shape[2:])].flatten(0, 1).numpy()

    own, changed = field(grader.network), copy.deepcopy(grader.network)
    found = {"none, but other views": _rank_correlation(own, field(grader.network, 1))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, layers in _stages(changed):
            for layer in layers:
                layer.reset_parameters()  # type: ignore[operator]
            found[name] = _rank_correlation(own, field(changed))
    return found


def _stages(network: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    branches = [
        [layer for layer in branch if isinstance(layer, nn.Linear)]
        for branch in network.get_submodule("branches")  # type: ignore[attr-defined]
    ]
    trunk = [m for m in network.get_submodule("trunk").modules() if hasattr(m, "reset_parameters")]
    places = [i for i, layer in enumerate(trunk) if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    return [
        ("FC8", [layers[-1] for layers in branches]),
        ("FC8 to FC6", [layer for layers in branches for layer in layers]),
        ("FC8 to Conv4", trunk[places[-2] :]),
        ("all", trunk),
    ]


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]))


def _field_of(grader: DiscGrader, shape: Sequence[int]) -> torch.Tensor:
    """``(D, H, W)`` bool: what a centered view of the grader shows."""
    mask = torch.zeros(*shape, dtype=torch.bool)
    (top, height), (left, width) = (
        ((n - f) // 2, f) for n, f in zip(shape[1:], grader.field_px, strict=True)
    )
    mask[grader.seen_slices(shape[0]), top : top + height, left : left + width] = True
    return mask


def peak_in_region(maps: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Whether each map has its maximum in a region.

    Shape:
        - maps ``(N, T, D, H, W)``; region ``(N, D, H, W)`` bool;
        - output ``(N, T)`` bool.
    """
    return region.flatten(1).gather(1, maps.flatten(2).argmax(2))


def deletion_and_insertion(
    grader: DiscGrader, volumes: torch.Tensor, grades: Grades, maps: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Areas under the probability of the given grades while evidence goes, and while it comes.

    Args:
        grader: gives the probabilities, by its centered view.
        volumes: ``(N, 1, D, H, W)``.
        grades: of each disc and task.
        maps: ``(N, T, D, H, W)``; pixels of the largest values go, or come, first.

    Returns:
        Two arrays ``(N, T)`` in [0, 1].
    """
    once = grader.with_views([(1.0, 0.0, 0.0)])
    columns = torch.tensor([grader.columns(given) for given in grades])
    blurred = torch.from_numpy(ndimage.gaussian_filter(volumes.numpy(), (0, 0, 0, _BLUR_PX, _BLUR_PX)))
    field = _field_of(grader, volumes.shape[2:])
    curves = np.zeros((2, len(_SHARES), *columns.shape))
    for t in range(columns.shape[1]):
        ranks = maps[:, t, field].argsort(1, descending=True).argsort(1)
        for s, share in enumerate(_SHARES):
            chosen = torch.zeros(len(volumes), *field.shape, dtype=torch.bool)
            chosen[:, field] = ranks < share * ranks.shape[1]
            for way, (inside, outside) in enumerate(((blurred, volumes), (volumes, blurred))):
                picture = torch.where(chosen[:, None], inside, outside)
                shares = torch.cat(once.probabilities(picture), 1)
                curves[way, s, :, t] = shares.gather(1, columns[:, t : t + 1])[:, 0].numpy()
    deleted, inserted = np.trapezoid(curves, _SHARES, axis=1)
    return deleted, inserted

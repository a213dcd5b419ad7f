"""Evidence hotspots: where in a disc volume a grade's evidence lies.

The method of [jamaludin2016spinenet, Sec. 3]: the magnitude of the derivative of a class's unnormalized score
with respect to each pixel [simonyan2014saliency], one map a slice, averaged over random views of the volume,
each map brought back by the inverse of its view. All grades share one pass forward; each has its own pass
back. Every view counts for every pixel: what few views showed stays dark, and a single view's noise at the
border is no maximum.

A hotspot says where the score would change most with the intensities. It does not say that what lies there is
pathological, and it is there for a disc without findings too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import ndimage

from siamed.transforms.rand_volume_view import RandVolumeViewd, apply_volume_views, invert_volume_view

from .grader import DiscGrader

__all__ = ["EvidenceHotspots", "Hotspots"]


@dataclass(frozen=True)
class Hotspots:
    """Maps of N discs and T tasks.

    Args:
        tasks: T names.
        grades: for each disc its T grades whose evidence is shown.
        maps: ``(N, T, D, H, W)`` float32 on the grid of the volumes, magnitude of d score / d intensity; zero
            in slices that the network does not see.
    """

    tasks: tuple[str, ...]
    grades: tuple[tuple[int, ...], ...]
    maps: torch.Tensor

    def smoothed(self, sigma_px: float = 2.0) -> torch.Tensor:
        """The maps blurred in plane, for pictures and for the place of a maximum: pixels alone are noisy."""
        result = self.maps.clone()
        flat = result.view(-1, *result.shape[-2:])
        for index in flat.flatten(1).any(1).nonzero()[:, 0].tolist():  # most slices are not seen at all
            own = flat[index].numpy()
            ndimage.gaussian_filter(own, sigma_px, output=own, mode="constant", truncate=3.0)
        return result


class EvidenceHotspots:
    """Find the hotspots of a grader's grades.

    Args:
        grader: whose evidence; its network stays as it is.
        hparams: of its bundle: the ranges of its training's augmentation, from which the views are drawn.
        samples: views that are averaged; the paper found many, aggressive ones to localize best.
        tasks: some of the grader's tasks; None for all.
        seed: of the views; the same views for every disc, so that a map does not depend on its neighbors.

    Raises:
        ValueError: for a task that the grader does not grade, or no sample.

    Example:
        >>> hotspots = EvidenceHotspots(grader, hparams)(volumes)  # doctest: +SKIP
        >>> hotspots.maps[0, hotspots.tasks.index("herniation"), 4]  # doctest: +SKIP
    """

    def __init__(
        self,
        grader: DiscGrader,
        hparams: Mapping[str, Any],
        samples: int = 10,
        tasks: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.tasks = grader.tasks if tasks is None else tuple(tasks)
        unknown = [task for task in self.tasks if task not in grader.tasks]
        if unknown or not self.tasks:
            raise ValueError(f"tasks must be some of {list(grader.tasks)}, got {list(self.tasks)}")
        self.grader = grader
        names = ("angle_deg", "shift_x_px", "shift_y_px", "scale", "intensity", "shift_slices", "flip")
        ranges = {name: hparams[name] for name in names if name in hparams}
        view = RandVolumeViewd("image", grader.field_px, grader.input_size, **ranges)
        view.set_random_state(seed=seed)
        self.views = view.draw(samples)

    def __call__(self, volumes: torch.Tensor, grades: Sequence[Mapping[str, int]] | None = None) -> Hotspots:
        """Map the evidence.

        Args:
            volumes: ``(N, 1, D, H, W)`` disc volumes as the grader takes them; with a margin around its field
                the views stay within the scan.
            grades: for each disc and task the grade whose evidence is asked for; None for those that the
                grader gives.

        Raises:
            ValueError: if the volumes have another shape, or a grade is none of its task's.
        """
        grader = self.grader
        if grades is None:
            grades = [{task: a["grade"] for task, a in answer.items()} for answer in grader(volumes)]
        if len(grades) != len(volumes):
            raise ValueError(f"grades must be given for each of {len(volumes)} discs, got {len(grades)}")
        targets = torch.tensor([grader.columns(given, self.tasks) for given in grades], device=grader.device)
        shown = grader.seen_slices(volumes.shape[2])
        seen = torch.as_tensor(volumes)[:, 0, shown].float().to(grader.device)
        maps = torch.zeros(len(volumes), len(self.tasks), *volumes.shape[2:])
        if len(volumes):
            maps[:, :, shown] = self._mean_map(seen, targets).cpu()
        said = tuple(tuple(given[task] for task in self.tasks) for given in grades)
        return Hotspots(self.tasks, said, maps)

    def _mean_map(self, middle: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        size = tuple(middle.shape[2:])
        total = torch.zeros(len(middle), len(self.tasks), *middle.shape[1:], device=middle.device)
        for view in self.views:
            image = apply_volume_views(
                middle, [view] * len(middle), self.grader.field_px, self.grader.input_size
            )
            maps = self._saliency(image, targets)
            total += invert_volume_view(maps, view, self.grader.field_px, size)
        return total / len(self.views)

    def _saliency(self, image: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """``(N, T, D, h, w)`` magnitudes of the derivatives of the scores in columns ``targets (N, T)``."""
        with torch.enable_grad():
            image = image.detach().requires_grad_()
            scores = self.grader.network(image[:, None]).float().gather(1, targets)
            gradients = [
                torch.autograd.grad(scores[:, t].sum(), image, retain_graph=t + 1 < len(self.tasks))[0]
                for t in range(len(self.tasks))
            ]
        return torch.stack(gradients, 1).abs()

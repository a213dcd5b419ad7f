"""The disc grader as a user calls it: disc volumes go in, grades with probabilities come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from siamed.transforms.rand_volume_view import VolumeView, apply_volume_view

from .tasks import TASKS, class_counts

__all__ = ["DiscGrader", "grade_of"]

_BATCH = 256


class DiscGrader:
    """Grade discs.

    Args:
        network: maps ``(B, 1, slices, *input_size)`` to scores of all tasks side by side.
        tasks: tasks of the network, in order.
        slices: slices the network sees, taken around the volume's middle.
        field_px: (rows, columns) of a volume that a view covers.
        input_size: (rows, columns) of the network's input.
        views: (scale, shift of rows, shift of columns) of each look at a disc, in pixels of the volume; their
            probabilities are averaged [D-0038].
        device: where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        tasks: Sequence[str],
        slices: int,
        field_px: Sequence[int],
        input_size: Sequence[int],
        views: Sequence[Sequence[float]] = ((1.0, 0.0, 0.0),),
        device: str | torch.device = "cpu",
    ) -> None:
        if not views:
            raise ValueError("views must hold at least one look, got none")
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.tasks, self.classes = tuple(tasks), class_counts(tasks)
        self.slices, self.field_px, self.input_size = int(slices), tuple(field_px), tuple(input_size)
        self.views = tuple(
            VolumeView(scale=float(s), shift_y_px=float(y), shift_x_px=float(x)) for s, y, x in views
        )

    @classmethod
    def from_bundle(
        cls, bundle: str | Path = "spine_mr_disc_grading", device: str | torch.device = "cpu"
    ) -> DiscGrader:
        """Load network, weights and settings from a bundle (its name, or its folder)."""
        from siamed.pipeline.bundles import bundle_hparams, load_network

        return cls.from_hparams(load_network(bundle), bundle_hparams(bundle), device)

    @classmethod
    def from_hparams(
        cls, network: nn.Module, hparams: Mapping[str, Any], device: str | torch.device = "cpu"
    ) -> DiscGrader:
        """A grader with a network and a bundle's hyper-parameters."""
        names = ("tasks", "slices", "field_px", "input_size", "views")
        return cls(network, **{name: hparams[name] for name in names}, device=device)

    def with_views(self, views: Sequence[Sequence[float]]) -> DiscGrader:
        """The same network with other looks at a disc."""
        return DiscGrader(
            self.network, self.tasks, self.slices, self.field_px, self.input_size, views, self.device
        )

    def columns(self, grades: Mapping[str, int], tasks: Sequence[str] | None = None) -> list[int]:
        """Column of the network's output for the grade of each task.

        Args:
            grades: a grade of each of the tasks.
            tasks: some of the grader's; None for all.

        Raises:
            ValueError: if a task has no grade, or one that its standard does not know.
        """
        columns = []
        for task in self.tasks if tasks is None else tasks:
            if grades.get(task) not in TASKS[task]:
                raise ValueError(f"grades must give {task} one of {TASKS[task]}, got {grades.get(task)!r}")
            before = sum(self.classes[: self.tasks.index(task)])
            columns.append(before + TASKS[task].index(grades[task]))
        return columns

    def seen_slices(self, depth: int) -> slice:
        """Which slices of a volume of so many the network sees: those in the middle."""
        first = (depth - self.slices) // 2
        return slice(first, first + self.slices)

    @torch.inference_mode()
    def probabilities(self, volumes: torch.Tensor) -> list[torch.Tensor]:
        """Probabilities of each task, ``(N, classes)``, averaged over the views.

        Args:
            volumes: ``(N, 1, D, H, W)`` disc volumes, intensities in [0, 1]; D odd or at least ``slices``.

        Raises:
            ValueError: if the volumes have another shape.
        """
        if volumes.ndim != 5 or volumes.shape[1] != 1 or volumes.shape[2] < self.slices:
            raise ValueError(
                f"volumes must be (N, 1, at least {self.slices}, H, W), got {tuple(volumes.shape)}"
            )
        middle = torch.as_tensor(volumes)[:, 0, self.seen_slices(volumes.shape[2])].float().to(self.device)
        if not len(middle):
            return [torch.zeros(0, count) for count in self.classes]
        chunks = [self._average(middle[start : start + _BATCH]) for start in range(0, len(middle), _BATCH)]
        return list(torch.cat(chunks).cpu().split(self.classes, dim=1))

    def _average(self, middle: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(middle), sum(self.classes), device=self.device)
        for view in self.views:
            # Slices and discs are looked at alike: both are channels of one resampling.
            seen = apply_volume_view(middle.flatten(0, 1), view, self.field_px, self.input_size)
            scores = self.network(seen.view(len(middle), 1, self.slices, *self.input_size)).float()
            total = total + torch.cat([s.softmax(1) for s in scores.split(self.classes, dim=1)], dim=1)
        return total / len(self.views)

    def __call__(self, volumes: torch.Tensor) -> list[dict[str, dict[str, Any]]]:
        """Grade.

        Args:
            volumes: ``(N, 1, 9, 112, 224)`` disc volumes of :class:`siamed.transforms.ExtractDisc`.

        Returns:
            For each disc: task -> grade, probabilities by grade, and expected grade.
        """
        parts = self.probabilities(volumes)
        return [
            {task: grade_of(task, part[n].tolist()) for task, part in zip(self.tasks, parts, strict=True)}
            for n in range(len(volumes))
        ]


def grade_of(task: str, probabilities: Sequence[float]) -> dict[str, Any]:
    """The likeliest grade of a task, the probability of each, and the expected grade.

    Example:
        >>> grade_of("bulging", [0.25, 0.75])
        {'grade': 1, 'probabilities': {'0': 0.25, '1': 0.75}, 'expected': 0.75}
    """
    grades = TASKS[task]
    likeliest = max(range(len(grades)), key=lambda i: probabilities[i])
    return {
        "grade": grades[likeliest],
        "probabilities": {str(g): float(p) for g, p in zip(grades, probabilities, strict=True)},
        "expected": float(sum(g * p for g, p in zip(grades, probabilities, strict=True))),
    }

"""The disc grader as a user calls it: disc volumes go in, grades with probabilities come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from siamed.transforms.rand_volume_view import VolumeView, apply_volume_view

from .averaging import dense_field, dense_probabilities
from .calibration import GradeCalibration
from .tasks import TASKS, class_counts, given_classes

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
            probabilities are averaged [D-0038]. Two more entries: by how many slices the window is moved, and
            whether the slices are reflected.
        device: where the network runs.
        calibration: what makes of its probabilities ones that can be trusted; None leaves them as they are.
        dense: look at volumes that have a margin around the field by one dense pass over SpineNet's nine
            shifts [D-0068], instead of by the views.
        windows: by how many slices the dense pass moves the window of slices.
        reflected: orders of the slices that it looks at, as they are and reversed.
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
        calibration: GradeCalibration | None = None,
        dense: bool = False,
        windows: Sequence[int] = (0,),
        reflected: Sequence[bool] = (False,),
    ) -> None:
        if not views:
            raise ValueError("views must hold at least one look, got none")
        self.device, self.calibration, self.dense = torch.device(device), calibration, bool(dense)
        self.network = network.to(self.device).eval()
        self.tasks, self.classes = tuple(tasks), class_counts(tasks)
        self.slices, self.field_px, self.input_size = int(slices), tuple(field_px), tuple(input_size)
        self.views = tuple(_view(view) for view in views)
        self.windows, self.reflected = tuple(int(w) for w in windows), tuple(bool(r) for r in reflected)
        if not self.windows or not self.reflected:
            raise ValueError(
                f"windows and reflected must hold one value at least, got {windows} and {reflected}"
            )

    @property
    def depth(self) -> int:
        """Slices of a volume that no look leaves."""
        shifts = [*self.windows] if self.dense else [view.shift_slices for view in self.views]
        return self.slices + 2 * max(abs(shift) for shift in shifts)

    @classmethod
    def from_bundle(
        cls, bundle: str | Path = "spine_mr_disc_grading", device: str | torch.device = "cpu"
    ) -> DiscGrader:
        """Load network, weights, settings and calibration from a bundle (its name, or its folder)."""
        from siamed.pipeline.bundles import bundle_hparams, bundle_path, load_network

        file = bundle_path(bundle) / "configs" / "calibration.json"
        calibration = GradeCalibration.read(file) if file.is_file() else None
        return cls.from_hparams(load_network(bundle), bundle_hparams(bundle), device, calibration)

    @classmethod
    def from_hparams(
        cls,
        network: nn.Module,
        hparams: Mapping[str, Any],
        device: str | torch.device = "cpu",
        calibration: GradeCalibration | None = None,
    ) -> DiscGrader:
        """A grader with a network and a bundle's hyper-parameters."""
        names = ("tasks", "slices", "field_px", "input_size", "views")
        own = {name: hparams[name] for name in names}
        # A run from before these were hyper-parameters has none.
        looks = {name: hparams[name] for name in ("dense", "windows", "reflected") if name in hparams}
        return cls(network, **own, device=device, calibration=calibration, **looks)

    def with_views(self, views: Sequence[Sequence[float]]) -> DiscGrader:
        """The same network with other looks at a disc, one by one."""
        own = (self.tasks, self.slices, self.field_px, self.input_size)
        return DiscGrader(self.network, *own, views, self.device, self.calibration)

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
        """Probabilities of each task, ``(N, classes)``, averaged over the looks, before the calibration.

        Args:
            volumes: ``(N, 1, D, H, W)`` disc volumes, intensities in [0, 1]; D odd or at least ``slices``; H
                and W the field's, or more: a margin around it.

        Raises:
            ValueError: if the volumes have another shape.
        """
        if volumes.ndim != 5 or volumes.shape[1] != 1 or volumes.shape[2] < self.slices:
            raise ValueError(
                f"volumes must be (N, 1, at least {self.slices}, H, W), got {tuple(volumes.shape)}"
            )
        if not len(volumes):
            return [torch.zeros(0, count) for count in self.classes]
        look = self._dense if self.dense and self._has_margin(volumes) else self._average
        chunks = [look(volumes[start : start + _BATCH]) for start in range(0, len(volumes), _BATCH)]
        return list(torch.cat(chunks).cpu().split(self.classes, dim=1))

    def _has_margin(self, volumes: torch.Tensor) -> bool:
        return all(n >= f for n, f in zip(volumes.shape[3:], dense_field(self), strict=True))

    def _dense(self, volumes: torch.Tensor) -> torch.Tensor:
        return torch.cat(dense_probabilities(self, volumes, self.windows, self.reflected), 1)

    def _average(self, volumes: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(volumes), sum(self.classes), device=self.device)
        for view in self.views:
            window = self.window(volumes, view.shift_slices, view.flip)
            # Slices and discs are looked at alike: both are channels of one resampling.
            plain = replace(view, shift_slices=0, flip=False)
            seen = apply_volume_view(window.flatten(0, 1), plain, self.field_px, self.input_size)
            scores = self.network(seen.view(len(window), 1, self.slices, *self.input_size)).float()
            total = total + self.softmax(scores)
        return total / len(self.views)

    def window(self, volumes: torch.Tensor, shift: int = 0, reflected: bool = False) -> torch.Tensor:
        """The slices that the network sees, ``(N, slices, H, W)`` float on its device.

        Args:
            volumes: ``(N, 1, D, H, W)``.
            shift: slices that the window is moved towards the patient's left.
            reflected: in reverse order.

        Raises:
            ValueError: if the window leaves the volume.
        """
        shown = self.seen_slices(volumes.shape[2])
        start, stop = shown.start + shift, shown.stop + shift
        if start < 0 or stop > volumes.shape[2]:
            raise ValueError(
                f"volumes must have {self.slices + 2 * abs(shift)} slices for a window moved by {shift}, got "
                f"{volumes.shape[2]}"
            )
        window = torch.as_tensor(volumes)[:, 0, start:stop].float().to(self.device)
        return window.flip(1) if reflected else window

    def softmax(self, scores: torch.Tensor) -> torch.Tensor:
        """Probabilities of each task, side by side as the scores are ``(..., sum(classes))``."""
        return torch.cat([part.softmax(-1) for part in scores.split(self.classes, dim=-1)], -1)

    def __call__(self, volumes: torch.Tensor) -> list[dict[str, dict[str, Any]]]:
        """Grade.

        Args:
            volumes: ``(N, 1, 9, 112, 224)`` disc volumes of :class:`siamed.transforms.ExtractDisc`.

        Returns:
            For each disc: task -> grade, calibrated probabilities by grade, expected grade, and where there
            is a calibration the ``likely`` grades.
        """
        parts = self.probabilities(volumes)
        return [
            {
                task: grade_of(task, part[n].tolist(), self.calibration)
                for task, part in zip(self.tasks, parts, strict=True)
            }
            for n in range(len(volumes))
        ]


def _view(entries: Sequence[float]) -> VolumeView:
    scale, rows, columns, slices, reflected = (*entries, 0, False)[:5]
    return VolumeView(
        scale=float(scale),
        shift_y_px=float(rows),
        shift_x_px=float(columns),
        shift_slices=int(slices),
        flip=bool(reflected),
    )


def grade_of(
    task: str, probabilities: Sequence[float], calibration: GradeCalibration | None = None
) -> dict[str, Any]:
    """The grade that is given, the probability of each, and the expected grade.

    Args:
        task: its name.
        probabilities: of its grades.
        calibration: applied first; it adds the ``likely`` grades.

    Example:
        >>> grade_of("bulging", [0.25, 0.75])
        {'grade': 1, 'probabilities': {'0': 0.25, '1': 0.75}, 'expected': 0.75}
    """
    grades, more = TASKS[task], {}
    given = int(given_classes(task, np.asarray(probabilities, float)))  # no calibration changes a grade
    if calibration is not None:
        shares = calibration.probabilities(task, np.asarray(probabilities, float))
        probabilities, more = shares.tolist(), {"likely": calibration.likely(task, shares, given)}
    return {
        "grade": grades[given],
        "probabilities": {str(g): float(p) for g, p in zip(grades, probabilities, strict=True)},
        "expected": float(sum(g * p for g, p in zip(grades, probabilities, strict=True))),
        **more,
    }

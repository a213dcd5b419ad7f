"""The grader as a MONAI evaluator runs it: disc volumes of a folder in, one table out."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.inferers import Inferer
from torch import nn

from siamed.pipeline.experiments.files import replace_file

from .grader import DiscGrader

__all__ = ["GradeInferer", "SaveGrades"]

log = logging.getLogger(__name__)


class GradeInferer(Inferer):
    """Grade a batch of volumes ``(B, 1, D, H, W)``.

    Args:
        hparams: of the bundle: tasks, slices, field_px, input_size, views.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.hparams = dict(hparams)

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[dict[str, Any]]:
        return DiscGrader.from_hparams(network, self.hparams, inputs.device)(inputs)


class SaveGrades:
    """Gather the grades of all volumes in ``grades.csv``: a row a volume and task, with probabilities.

    Args:
        output_dir: folder, made if missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir)
        self._rows: list[list[Any]] = []

    def attach(self, engine: Any) -> None:
        """Register on an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _gather(self, engine: Any) -> None:
        for name, answer in zip(engine.state.batch["name"], engine.state.output["pred"], strict=True):
            for task, result in answer.items():
                shares = ";".join(f"{grade}={p:.4f}" for grade, p in result["probabilities"].items())
                self._rows.append([name, task, result["grade"], f"{result['expected']:.3f}", shares])

    def _write(self, engine: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

        def write(beside: Path) -> None:
            with beside.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["volume", "task", "grade", "expected", "probabilities"])
                table.writerows(self._rows)

        replace_file(self.folder / "grades.csv", write)
        log.info("%d grades written", len(self._rows))

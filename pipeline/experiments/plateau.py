"""Divide the learning rate where the validation loss no longer falls, and stop where that no longer helps.

The schedule of the papers: "when the validation error plateaus" [jamaludin2017ssl, Sec. 3.2]. torch's
ReduceLROnPlateau decides; this handler feeds it from MONAI's evaluator, ends the training after the last
division has brought nothing, and remembers both through a resume.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from ignite.engine import Events
from torch.optim.lr_scheduler import ReduceLROnPlateau

__all__ = ["PlateauSchedule"]

log = logging.getLogger(__name__)


class PlateauSchedule:
    """A handler for a trainer that validates; keep it among the objects of the checkpoints.

    Args:
        optimizer: whose learning rates are divided.
        evaluator: the validator; each of its runs is a step.
        metric: name of the evaluator's metric, smaller being better.
        factor: what the learning rates are multiplied by, in (0, 1).
        patience: validations without a new minimum that are waited for.
        divisions: how often the rates are divided; the next plateau ends the training.

    Raises:
        ValueError: if factor, patience or divisions are out of their range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        evaluator: Any,
        metric: str,
        factor: float,
        patience: int,
        divisions: int,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie in (0, 1), got {factor}")
        if patience < 0 or divisions < 0:
            raise ValueError(f"patience and divisions must not be negative, got {patience} and {divisions}")
        self.evaluator, self.metric, self.divisions = evaluator, metric, int(divisions)
        self.divided = 0
        self._schedule = ReduceLROnPlateau(
            optimizer, factor=factor, patience=patience, threshold=0.0, eps=0.0
        )

    def attach(self, engine: Any) -> None:
        """Register on a trainer; list it after the checkpoints and before the validation."""

        def validated(evaluator: Any) -> None:
            self._step(engine, float(evaluator.state.metrics[self.metric]))

        self.evaluator.add_event_handler(Events.COMPLETED, validated)

    def _step(self, trainer: Any, value: float) -> None:
        before = self._schedule.get_last_lr()
        self._schedule.step(value)
        if self._schedule.get_last_lr() == before:
            return
        if self.divided == self.divisions:
            log.info("%s has not fallen since the last division: the training ends", self.metric)
            trainer.terminate()
            return
        self.divided += 1
        log.info("%s no longer falls: learning rate %.1e", self.metric, self._schedule.get_last_lr()[0])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"divided": self.divided, "schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave."""
        self.divided = int(state["divided"])
        self._schedule.load_state_dict(state["schedule"])

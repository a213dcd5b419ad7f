"""How far a training is: a bar on a terminal, a line an epoch in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from ignite.engine import Events
from ignite.handlers.tqdm_logger import ProgressBar

from .distributed import is_main_process

__all__ = ["Progress", "batch_loss"]

log = logging.getLogger(__name__)


def batch_loss(output: Any) -> float | None:
    """Loss of one iteration from MONAI's output, a dictionary or (decollated) a list of them; else None."""
    first = output[0] if isinstance(output, (list, tuple)) and output else output
    loss = first.get("loss") if isinstance(first, dict) else None
    return None if loss is None else float(loss)


class Progress:
    """Show the progress of a trainer or evaluator: tqdm where a person watches, log lines always.

    Args:
        name: before the bar and in the lines.
    """

    def __init__(self, name: str = "training") -> None:
        self.name = name
        self._start = 0.0
        self._first = 0

    def attach(self, engine: Any) -> None:
        """Register on an engine; list it after the checkpoints."""
        if not is_main_process():
            return
        if sys.stderr.isatty():
            bar = ProgressBar(desc=self.name)
            bar.attach(engine, output_transform=lambda output: {"loss": batch_loss(output) or 0.0})
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _started(self, engine: Any) -> None:
        self._start, self._first = time.monotonic(), engine.state.epoch

    def _epoch(self, engine: Any) -> None:
        done, total = engine.state.epoch - self._first, engine.state.max_epochs - engine.state.epoch
        left = (time.monotonic() - self._start) / done * total
        log.info(
            "%s: epoch %d of %d, about %.0f min left",
            self.name,
            engine.state.epoch,
            engine.state.max_epochs,
            left / 60,
        )

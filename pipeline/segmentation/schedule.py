"""The weight that moves from cross-entropy to Dice as training goes on [dhere2021, Sec. 2]."""

from __future__ import annotations

from typing import Any

from ignite.engine import Events

from siamed.networks.losses.dice_bce import DiceBCELoss

__all__ = ["DiceWeightSchedule"]


class DiceWeightSchedule:
    """Set a loss's Dice weight at the start of each epoch, on a line from the first epoch to the last.

    The paper gives the start, 0.4, and the direction. A function of the epoch alone, so that a resumed
    training goes on as it was.

    Args:
        loss: whose weight is set.
        start: in the first epoch.
        end: in the last one.
    """

    def __init__(self, loss: DiceBCELoss, start: float, end: float) -> None:
        if not 0 <= start <= end <= 1:
            raise ValueError(f"start and end must rise within [0, 1], got {start} and {end}")
        self.loss, self.start, self.end = loss, float(start), float(end)

    def attach(self, engine: Any) -> None:
        """Register on a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Set the weight of the epoch that starts."""
        last = max(1, engine.state.max_epochs - 1)
        self.loss.dice_weight = self.start + (self.end - self.start) * (engine.state.epoch - 1) / last

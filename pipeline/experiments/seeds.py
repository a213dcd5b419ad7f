"""Each epoch starts from a seed of its own, so that a resumed training draws what an uninterrupted one
draws."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from .distributed import rank

__all__ = ["EpochSeeds", "epoch_seed"]


def epoch_seed(seed: int, epoch: int, iteration: int = 0, process: int = 0) -> int:
    """A seed below 2**32 for one epoch (or its rest after ``iteration``) of one process. Deterministic."""
    return int(np.random.SeedSequence([seed, epoch, iteration, process]).generate_state(1)[0])


class EpochSeeds:
    """Seed Python, NumPy, torch and the dataset's random transforms at the start of each epoch.

    Saved random states would restore one process's main thread only; seeds derived from (seed, epoch,
    process) reach data-loading workers too, and a checkpoint at the end of an epoch needs no random state
    [D-0031]. The iterator over the data is made anew at each epoch: shuffling is then part of what is seeded.

    Args:
        seed: of the whole training.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Register on a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Seed for the epoch that starts."""
        within = engine.state.iteration % engine.state.epoch_length if engine.state.epoch_length else 0
        value = epoch_seed(self.seed, engine.state.epoch, within, rank())
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        loader = engine.state.dataloader
        # Workers seed their own copies of the dataset, from the torch generator seeded above.
        if getattr(loader, "num_workers", 1) == 0:
            set_rnd(loader.dataset, seed=value)
        if not within:
            engine.set_data(loader)

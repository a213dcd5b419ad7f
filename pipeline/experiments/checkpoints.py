"""Checkpoints that survive being killed: the latest one to resume from, the best one to ship.

Two files in the output folder, each written beside its place and renamed:

``latest.pt``
    the state of each object by its name (``network``, ``optimizer``, ...), and ``training``: ``scaler``,
    ``epoch`` (whole epochs done), ``iteration``, ``epoch_length``, ``hparams``.
``best.pt``
    ``network``, ``metric``, ``metric_name``, ``epoch``. The best value lives in the file whose weights earned
    it: there is no moment at which one is known and the other is not [D-0031].
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch import nn

from .distributed import is_main_process
from .files import save_checkpoint

__all__ = ["BEST", "LATEST", "Checkpoints"]

log = logging.getLogger(__name__)

LATEST, BEST = "latest.pt", "best.pt"
_TRAINING = "training"
_held: dict[Path, int] = {}  # locks of this process, by folder


class Checkpoints:
    """Save, resume, keep the best: a handler for a MONAI trainer.

    MONAI's own CheckpointSaver forgets the best metric on resume, so that a worse model replaces the best
    one, and does not save the scaler of mixed precision. The handler resumes by itself when its folder holds
    ``latest.pt``.

    Args:
        output_dir: folder of the training; one process (group) at a time may train in it.
        objects: what is saved and restored, by name: must hold ``network`` and ``optimizer``; a schedule, an
            early stop and all else with ``state_dict`` may follow.
        evaluator: the validator, whose key metric and comparison (``metric_cmp_fn``) decide which network is
            best.
        hparams: hyper-parameters; a resumed training must have the same, ``max_epochs`` apart.
        every_iterations: also save within epochs; 0 saves at the end of epochs alone. A training resumed
            within an epoch runs the rest of it on a new shuffle, it is then not equal to an uninterrupted
            one.
        resume: continue from ``latest.pt``; False starts over and puts the folder's old checkpoints aside.

    Raises:
        ValueError: if ``objects`` lacks the network or the optimizer, or holds something without a state.
    """

    def __init__(
        self,
        output_dir: str | Path,
        objects: Mapping[str, Any],
        evaluator: Any = None,
        hparams: Mapping[str, Any] | None = None,
        every_iterations: int = 0,
        resume: bool = True,
    ) -> None:
        for name in ("network", "optimizer"):
            if name not in objects:
                raise ValueError(f"objects must hold {name!r}, got {sorted(objects)}")
        if _TRAINING in objects:
            raise ValueError(f"objects must not hold {_TRAINING!r}, the name of the training's own state")
        for name, item in objects.items():
            if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
                raise ValueError(f"objects must have state_dict and load_state_dict, {name!r} has not")
        if every_iterations < 0:
            raise ValueError(f"every_iterations must be 0 or more, got {every_iterations}")
        self.folder = Path(output_dir).absolute()
        self.objects = dict(objects)
        self.evaluator = evaluator
        self.hparams = dict(hparams or {})
        self.every_iterations = every_iterations
        self.resume = resume
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.resumed_epoch: int | None = None

    def attach(self, engine: Any) -> None:
        """Register on a trainer; list this handler before those that ask where the training stands."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._unlock)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self._validated)

    def _start(self, engine: Any) -> None:
        if is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock_folder()
            if not self.resume:
                self._put_aside()
        if self.resume:
            self._load(engine)
        # Registered now and not in attach: whatever else happens at an epoch's end (validation, the
        # schedule's step)
        # is then part of what is saved.
        if not engine.has_event_handler(self._epoch_done, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_done)
            if self.every_iterations:
                event = Events.ITERATION_COMPLETED(every=self.every_iterations)
                engine.add_event_handler(event, self._iteration_done)

    def _lock_folder(self) -> None:
        if self.folder in _held:
            return  # an earlier attempt of this process, that ended with an exception
        # The lock goes with the process, however it ends.
        handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise RuntimeError(
                f"output_dir is in use by another training: {self.folder.name}. Wait, or give another "
                "output_dir."
            ) from error
        _held[self.folder] = handle

    def _unlock(self, engine: Any) -> None:
        if self.folder in _held:
            os.close(_held.pop(self.folder))

    def _put_aside(self) -> None:
        old = [file for file in (self.folder / LATEST, self.folder / BEST) if file.is_file()]
        if old:
            aside = self.folder / f"before_{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
            aside.mkdir()
            for file in old:
                shutil.move(file, aside / file.name)
            log.info("resume is off: earlier checkpoints were moved to %s", aside.name)

    def _load(self, engine: Any) -> None:
        best, latest = self.folder / BEST, self.folder / LATEST
        if not latest.is_file():
            return
        # On the CPU: each object moves its state to where it lives.
        saved = torch.load(latest, map_location="cpu", weights_only=True)
        state = saved.pop(_TRAINING)
        _check_hparams(state["hparams"], self.hparams)
        if set(saved) != set(self.objects):
            raise ValueError(
                f"objects must be those of the checkpoint {sorted(saved)}, got {sorted(self.objects)}"
            )
        for name, item in self.objects.items():
            _bare(item).load_state_dict(saved[name])
        if state["scaler"] and getattr(engine, "scaler", None) is not None:
            engine.scaler.load_state_dict(state["scaler"])
        length = engine.state.epoch_length
        within = state["iteration"] - state["epoch"] * state["epoch_length"]
        if within and length != state["epoch_length"]:
            raise ValueError(
                f"epoch_length must be {state['epoch_length']} to resume within an epoch, got {length}"
            )
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * length + within
        self.resumed_epoch = state["epoch"]
        if best.is_file():
            kept = torch.load(best, map_location="cpu", weights_only=True)
            self.best, self.best_epoch = kept["metric"], kept["epoch"]
            if self.evaluator is not None:
                self.evaluator.state.best_metric = self.best
                self.evaluator.state.best_metric_epoch = self.best_epoch
        log.info("resumed after epoch %d, best metric so far %s", state["epoch"], self.best)

    def _validated(self, evaluator: Any) -> None:
        name = evaluator.state.key_metric_name
        if name is None:
            return
        value = float(evaluator.state.metrics[name])
        if math.isnan(value):
            log.warning(
                "%s is not a number after epoch %d: it cannot be the best", name, evaluator.state.epoch
            )
            return
        if self.best is not None and not evaluator.metric_cmp_fn(value, self.best):
            return
        self.best, self.best_epoch = value, int(evaluator.state.epoch)
        if is_main_process():
            content = {
                "network": _bare(self.objects["network"]).state_dict(),
                "metric": value,
                "metric_name": name,
                "epoch": self.best_epoch,
            }
            save_checkpoint(self.folder / BEST, content)

    def _epoch_done(self, engine: Any) -> None:
        self._save(engine)

    def _iteration_done(self, engine: Any) -> None:
        # The last iteration of an epoch is saved by the epoch, after its validation.
        if engine.state.iteration % engine.state.epoch_length:
            self._save(engine)

    def _save(self, engine: Any) -> None:
        if not is_main_process():
            return
        scaler = getattr(engine, "scaler", None)
        state = {
            "scaler": scaler.state_dict() if scaler is not None else None,
            "epoch": engine.state.iteration // engine.state.epoch_length,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "hparams": self.hparams,
        }
        content = {name: _bare(item).state_dict() for name, item in self.objects.items()}
        content[_TRAINING] = state
        save_checkpoint(self.folder / LATEST, content)


def _bare(item: Any) -> Any:
    return item.module if isinstance(item, nn.parallel.DistributedDataParallel) else item


def _check_hparams(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    # The saved optimizer and schedule would silently win over changed values.
    names = sorted((set(saved) | set(given)) - {"max_epochs"})
    for name in names:
        if saved.get(name) != given.get(name):
            raise ValueError(
                f"hparams must be those of the checkpoint to resume: {name} was {saved.get(name)!r}, got "
                f"{given.get(name)!r}. Give another output_dir, or start over with --resume False."
            )

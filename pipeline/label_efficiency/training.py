"""Run one training of an experiment, in a process of its own, and score its held-out subjects.

A training is its bundle's train configuration with overrides, run by MONAI's engine as the command line runs
it. Its folder keeps ``console.log``, ``run.json``, ``history.json`` and, once it is scored, ``scores.json``:
what is found there is not done again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from siamed.pipeline.bundles import config_files
from siamed.pipeline.datasets.splits import held_out
from siamed.pipeline.experiments.checkpoints import BEST, LATEST
from siamed.pipeline.experiments.files import read_json, sha256_of, write_json
from siamed.pipeline.experiments.record import RUN_FILE, is_finished
from siamed.pipeline.experiments.train_bundle import train_bundle

from .config import Scorer

__all__ = ["SCORES_FILE", "Training", "failure_of", "is_done", "run_all"]

log = logging.getLogger(__name__)

SCORES_FILE = "scores.json"
# The line of a traceback that says what went wrong; MONAI raises a second error around the first.
_ERROR = re.compile(r"[\w.]*(Error|Exception): (?!Failed to (evaluate|instantiate)|applying transform)")
_TRACKER = "siamed.pipeline.tracking.TrackRun"


@dataclass(frozen=True)
class Training:
    """One training.

    Args:
        name: in logs and in the progress.
        bundle: whose train configuration is run.
        folder: of the run.
        overrides: of the configuration, ``output_dir`` apart.
        tags: of its MLflow run.
        overlays: names of further configurations of the bundle that the train configuration is run with.
        scorer: scores its held-out subjects; None for a pretraining.
        keep_weights: leave the checkpoints after scoring, and a bundle with the weights.
    """

    name: str
    bundle: str
    folder: Path
    overrides: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    overlays: tuple[str, ...] = ()
    scorer: Scorer | None = None
    keep_weights: bool = True


def is_done(training: Training) -> bool:
    """Whether the folder holds this training, finished and scored.

    Raises:
        ValueError: if it holds a training with other overrides.
    """
    started = read_json(training.folder / "overrides.json")
    wanted = _wanted(training)
    if started is not None and started != wanted:
        differing = sorted(key for key in set(started) | set(wanted) if started.get(key) != wanted.get(key))
        raise ValueError(
            f"out must be this experiment's, {training.folder.name} in it was started with another "
            f"{differing[0]}: {started.get(differing[0])!r}, now {wanted.get(differing[0])!r}; give another "
            "out"
        )
    if training.scorer is not None:
        return (training.folder / SCORES_FILE).is_file()
    return is_finished(training.folder)


def _wanted(training: Training) -> dict[str, Any]:
    # Where runs are tracked and where the lists lie is not what a training is.
    overrides = training.overrides
    kept = {key: value for key, value in overrides.items() if key not in ("tracking_uri", "split")}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in kept.items()}
    named = {"overlays": list(training.overlays)} if training.overlays else {}
    return {**plain, **named, "split_sha256": sha256_of(overrides["split"])}


def run_all(trainings: Sequence[Training], jobs: int) -> Iterator[tuple[Training, int, float]]:
    """Run trainings, ``jobs`` at a time; yields each as it ends, with its exit status and its seconds.

    Args:
        trainings: in the order in which they start.
        jobs: processes at a time; each takes its share of the processor cores.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:  # imports once, then a process starts at once
        context.set_forkserver_preload(
            [__name__, "ignite.engine", "monai.engines", "siamed.pipeline.tracking"]
        )
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting = list(trainings)
    running: dict[Any, tuple[Training, Any, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                training = waiting.pop(0)
                process = context.Process(target=_run, args=(training, threads), daemon=True)
                process.start()
                running[process.sentinel] = (training, process, time.monotonic())
            for sentinel in wait(list(running)):
                training, process, start = running.pop(sentinel)
                process.join()
                yield training, process.exitcode or 0, time.monotonic() - start
    finally:
        for _, process, _ in running.values():
            process.terminate()


def failure_of(training: Training) -> str:
    """What a failed training said last: its own error, not MONAI's that a configuration could not be run."""
    console = training.folder / "console.log"
    lines = console.read_text(encoding="utf-8", errors="replace").split("\n") if console.is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if _ERROR.match(line)]
    return next(reversed(errors or said), "it left no message")


def _run(training: Training, threads: int) -> None:
    training.folder.mkdir(parents=True, exist_ok=True)
    write_json(training.folder / "overrides.json", _wanted(training))
    with (training.folder / "console.log").open("ab", buffering=0) as console:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(console.fileno(), stream.fileno())
    torch.set_num_threads(threads)
    record = read_json(training.folder / RUN_FILE)
    if record is None or record["status"] != "FINISHED":
        _train(training)
    if training.scorer is not None:
        _score(training, training.scorer)


def _train(training: Training) -> None:
    config = config_files(training.bundle, ("train",))[0]
    own = {"output_dir": training.folder, **_tracking(config, training)}
    train_bundle(training.bundle, {**training.overrides, **own}, training.overlays)


def _tracking(config: Path, training: Training) -> dict[str, Any]:
    """Overrides that give the run its tags, and build a bundle of it only if its weights are kept."""
    handlers = ConfigParser.load_config_file(str(config))["train"]["handlers"]
    places = [i for i, handler in enumerate(handlers) if handler.get("_target_") == _TRACKER]
    if not places:
        raise ValueError(f"bundle must track its training, {config} has no {_TRACKER} in train#handlers")
    own = f"train#handlers#{places[0]}"
    tags: dict[str, Any] = {f"{own}#tags": dict(training.tags)}
    return tags if training.keep_weights else {**tags, f"{own}#bundle_root": None}


def _score(training: Training, scorer: Scorer) -> None:
    overrides = training.overrides
    found = scorer.statistics(training.folder, held_out(overrides["split"], overrides.get("fold")))
    if not found:
        raise ValueError("scorer must score a subject that was left out, it scored none")
    total = np.sum([np.asarray(value, float) for value in found.values()], axis=0)
    content = {
        "measure": scorer.measure,
        "figure": float(scorer.figure(total)[0]),
        "parts": list(scorer.parts),
        "run": read_json(training.folder / RUN_FILE)["name"],
        "subjects": {subject: np.asarray(value).tolist() for subject, value in found.items()},
    }
    write_json(training.folder / SCORES_FILE, content)
    if not training.keep_weights:
        for name in (LATEST, BEST):
            (training.folder / name).unlink(missing_ok=True)

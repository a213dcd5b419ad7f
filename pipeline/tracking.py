"""Trainings in MLflow: one run a process, with what went in, what came out and how it ended.

Statuses are MLflow's: FINISHED, FAILED after an exception, KILLED after Ctrl-C or SIGTERM; a run whose
process was killed outright is marked KILLED by the next one in its folder [D-0032]. Where runs are kept, and
what a store takes, is :mod:`siamed.pipeline.experiments.mlflow_store`.

Nothing of a patient is logged: hyper-parameters, hashes of data files, numbers, and the figures it is given.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Events
from monai.engines import Trainer

from .build_bundle import build_bundle
from .bundles import running_config
from .experiments.checkpoints import BEST, LATEST
from .experiments.distributed import is_main_process
from .experiments.figures import HEALTH, health_curves, loss_curves
from .experiments.files import read_json, write_json
from .experiments.mlflow_store import MlflowStore, mark_killed, tracking_store, without_credentials
from .experiments.progress import batch_loss
from .experiments.record import RunRecord
from .experiments.transfer import describe_source

__all__ = ["HISTORY_FILE", "TrackRun", "TrackedExperiment"]

log = logging.getLogger(__name__)

HISTORY_FILE = "history.json"


def _sigterm_interrupts() -> Any:
    """Let SIGTERM raise KeyboardInterrupt from now on; returns the handler it had, None in a side thread."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt("SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, stop)


class TrackRun:
    """Record a training, or an evaluation, in run.json and MLflow: an ignite handler.

    Attach it to a trainer after the checkpoints and the validation, or to an evaluator that is run alone. In
    a training of several processes the first one records.

    Args:
        output_dir: folder of the training: run.json, history.json, train.log and the default store.
        name: name of the bundle; the MLflow experiment is called so too.
        hparams: hyper-parameters, logged as parameters.
        evaluator: the validator, whose metrics are logged as ``val_...``.
        bundle_root: the bundle; at the end a copy with the trained weights is written to
            ``<output_dir>/bundle`` and logged.
        data_files: files that say which data was used (``manifest``, ``split``), by role; their hashes are
            logged. A role whose file is None, for it may go without, is left out.
        figures: by name, callables from the evaluator to a matplotlib figure, drawn after each validation;
            one that has ``attach`` is attached to the evaluator. The latest is kept, and the one of the best
            epoch.
        tracking_uri: an MLflow store, see :func:`tracking_store`.
        parent_run: id of the MLflow run whose weights this one starts from.
        weights: checkpoint in ``output_dir`` whose network goes into the bundle: ``best.pt``, or
            ``latest.pt`` where no epoch is to be chosen by what is validated. Without validation it is
            ``latest.pt``.
        tags: further tags of the run; ``mlflow.parentRunId`` shows it below another one.
        blocks: entries of the configuration that overlays replace; the bundle of the training gets them as
            they were.

    Raises:
        ValueError: if the tracking URI is a folder.
    """

    def __init__(
        self,
        output_dir: str | Path,
        name: str,
        hparams: Mapping[str, Any],
        evaluator: Any = None,
        bundle_root: str | Path | None = None,
        data_files: Mapping[str, str | Path | None] | None = None,
        figures: Mapping[str, Callable[[Any], Any]] | None = None,
        tracking_uri: str | None = None,
        parent_run: str | None = None,
        weights: str = BEST,
        tags: Mapping[str, str] | None = None,
        blocks: Sequence[str] = (),
    ) -> None:
        self.folder = Path(output_dir).absolute()
        self.name = name
        self.hparams = dict(hparams)
        self.evaluator = evaluator
        self.bundle_root = bundle_root
        self.data_files = {role: file for role, file in (data_files or {}).items() if file is not None}
        self.figures = dict(figures or {})
        self.uri = tracking_store(output_dir, tracking_uri)
        self.parent_run = parent_run
        self.weights = weights
        self.tags = dict(tags or {})
        self.blocks = tuple(blocks)
        # While MONAI builds this object its parser is at hand; later it is not.
        self.config = running_config()
        self.history: list[dict[str, float]] = []
        self.record: RunRecord | None = None
        self.store: MlflowStore | None = None
        self._losses: list[float] = []
        self._validation: dict[str, float] = {}
        self._signal: Any = None
        self._log_file: logging.Handler | None = None
        self._input_shape: list[int] | None = None

    def attach(self, engine: Any) -> None:
        """Register on a trainer, or on an evaluator that is run alone."""
        if not is_main_process():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)
        watched = self.evaluator
        if isinstance(engine, Trainer):
            engine.add_event_handler(Events.STARTED, self._watch_input)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        else:
            watched = engine
        if watched is not None:
            for figure in self.figures.values():
                if hasattr(figure, "attach"):
                    figure.attach(watched)
            watched.add_event_handler(Events.COMPLETED, self._validated)
        # After _validated, where the engine is the evaluator itself.
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, engine: Any) -> None:
        training = isinstance(engine, Trainer)
        if training and engine.state.epoch >= engine.state.max_epochs:
            log.info(
                "already trained for %d epochs: give more max_epochs, or another output_dir",
                engine.state.epoch,
            )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log_to_file()
        self.record = RunRecord(self.folder if training else self.folder / "evaluation")
        store = MlflowStore(self.uri, self.name)
        self._close_stale()
        resumed = int(engine.state.epoch) if training else 0
        pretrained = (self.config or {}).get("pretrained")
        unique = self.record.start(
            self.name,
            kind="training" if training else "evaluation",
            config=self.config,
            hparams=self.hparams,
            data_files=self.data_files,
            device=str(engine.state.device),
            resumed_after_epoch=resumed or None,
            resumed_from=self.record.previous.get("mlflow_run_id") if resumed else None,
            parent_run=self.parent_run,
            pretraining=describe_source(pretrained) if pretrained else None,
            tracking_uri=without_credentials(self.uri),
        )
        content = self.record.content
        tags = {"kind": content["kind"], "commit": content["commit"], "dirty": content["dirty"]}
        tags |= {
            key: content[key]
            for key in ("config_sha256", "resumed_from", "resumed_after_epoch", "parent_run")
        }
        tags |= {f"data.{role}.sha256": entry["sha256"] for role, entry in content["data"].items()}
        known = {key: str(value) for key, value in (self.tags | tags).items() if value is not None}
        versions = {f"version.{key}": value for key, value in content["versions"].items()}
        self.store = store
        self._signal = _sigterm_interrupts()
        run_id = store.start(unique, {**self.hparams, **versions, "device": content["device"]}, known)
        self.record.update(mlflow_run_id=run_id)
        store.content(content, "run.json")
        if self.config is not None:
            store.content(self.config, "config.json")
        self._take_history(resumed)
        log.info("run %s, tracked in %s", unique, content["tracking_uri"])

    def _close_stale(self) -> None:
        record = self.record
        if record is None or record.stale is None:
            return
        recorded, name = record.stale.get("tracking_uri"), record.stale["name"]
        here = recorded in (None, without_credentials(self.uri))
        at_ms = int(record.path.stat().st_mtime * 1000)
        mark_killed(self.uri if here else str(recorded), self.name, name, at_ms)
        record.close_stale()
        log.info("the run %s had been killed: it is marked so", name)

    def _take_history(self, epochs: int) -> None:
        # The curves of a resumed run begin at epoch 1, the numbers of epochs that are done again are dropped.
        old = read_json(self.folder / HISTORY_FILE) or []
        self.history = [row for row in old if row["epoch"] <= epochs]
        if self.history and self.store is not None:
            self.store.metrics(list(self.history))

    def _log_to_file(self) -> None:
        self._log_file = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        self._log_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._log_file.setLevel(logging.INFO)
        siamed = logging.getLogger("siamed")
        if siamed.level == logging.NOTSET:
            siamed.setLevel(logging.INFO)
        logging.getLogger().addHandler(self._log_file)

    def _watch_input(self, engine: Any) -> None:
        def keep(network: Any, inputs: tuple[Any, ...]) -> None:
            self._input_shape = [int(length) for length in inputs[0].shape[1:]]
            handle.remove()

        handle = engine.network.register_forward_pre_hook(keep)

    def _iteration(self, engine: Any) -> None:
        loss = batch_loss(engine.state.output)
        if loss is not None:
            self._losses.append(loss)

    def _validated(self, evaluator: Any) -> None:
        if self.store is None:
            return
        scalars = {key: value for key, value in evaluator.state.metrics.items() if np.ndim(value) == 0}
        self._validation = {f"val_{key}": float(value) for key, value in scalars.items()}
        best = evaluator.state.best_metric_epoch == evaluator.state.epoch
        for name, draw in self.figures.items():
            figure = draw(evaluator)
            self.store.figure(figure, f"{name}.png")
            if best:
                self.store.figure(figure, f"{name}_best.png")

    def _epoch(self, engine: Any) -> None:
        if self.store is None or self.record is None:
            return
        row: dict[str, float] = {"epoch": int(engine.state.epoch)}
        if self._losses:
            row["train_loss"] = float(np.mean(self._losses))
        row |= {f"train_{k}": float(v) for k, v in engine.state.metrics.items() if np.ndim(v) == 0}
        groups = engine.optimizer.param_groups
        row |= {"lr" if len(groups) == 1 else f"lr_{i}": float(group["lr"]) for i, group in enumerate(groups)}
        row |= self._validation
        self._losses, self._validation = [], {}
        self.history.append(row)
        write_json(self.folder / HISTORY_FILE, self.history)
        self.store.metrics([row])
        self.store.figure(loss_curves(self.history), "loss_curves.png")
        if HEALTH & row.keys():
            self.store.figure(health_curves(self.history), "health.png")
        log.info("%s", " ".join(f"{key} {value:.4g}" for key, value in row.items()))
        self.record.update(epochs=row["epoch"], **self._best())

    def _best(self) -> dict[str, Any]:
        if self.evaluator is None or self.evaluator.state.key_metric_name is None:
            return {}
        state = self.evaluator.state
        if state.best_metric_epoch < 1:  # nothing was validated yet
            return {}
        return {
            "best_metric": {
                "name": state.key_metric_name,
                "value": float(state.best_metric),
                "epoch": int(state.best_metric_epoch),
            }
        }

    def _complete(self, engine: Any) -> None:
        if self.store is None or self.record is None:
            return
        if isinstance(engine, Trainer):
            found = [self.folder / name for name in (self.weights, LATEST) if (self.folder / name).is_file()]
            if self.bundle_root is not None and found:
                folder = self.folder / "bundle" / self.name
                built = build_bundle(
                    self.bundle_root,
                    found[0],
                    folder,
                    self.hparams,
                    self.record.content,
                    self._input_shape,
                    {name: (self.config or {})[name] for name in self.blocks},
                )
                self.store.folder(built, f"bundle/{self.name}")
        else:
            row = {"epoch": int(engine.state.epoch), **self._validation}
            self.store.metrics([row])
            self.record.update(metrics=self._validation)
        self._end("FINISHED")

    def _fail(self, engine: Any, error: BaseException) -> None:
        # ignite raises nothing itself once a handler listens; it may call twice for one exception.
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
        self._end("KILLED" if stopped else "FAILED", f"{type(error).__name__}: {error}")
        raise error

    def _end(self, status: str, error: str | None = None) -> None:
        record, store = self.record, self.store
        if record is None:
            return
        self.record, self.store = None, None
        if record.content:
            record.end(status, error)
        if store is not None and store.run_id:
            store.content(record.content, "run.json")
            if error is not None:
                store.tag("error", error)
            store.end(status)
        log.info("run %s", status)
        if self._signal is not None:
            signal.signal(signal.SIGTERM, self._signal)
            self._signal = None
        if self._log_file is not None:
            logging.getLogger().removeHandler(self._log_file)
            self._log_file.close()


class TrackedExperiment:
    """An experiment of many trainings in run.json and MLflow: a context manager around all of them.

    It is one MLflow run, however often it is resumed; trainings tagged ``mlflow.parentRunId`` with its id are
    shown below it. Leaving the context by an exception ends it as FAILED, by an interrupt as KILLED.

    Args:
        output_dir: folder of the experiment.
        experiment: name of the MLflow experiment, that of its trainings.
        name: of this experiment.
        tracking_uri: an MLflow store, see :func:`tracking_store`.
        described: what it is; logged as parameters.
    """

    def __init__(
        self,
        output_dir: str | Path,
        experiment: str,
        name: str,
        tracking_uri: str | None,
        described: Mapping[str, Any],
    ) -> None:
        self.uri = tracking_store(output_dir, tracking_uri)
        self.name, self.described = name, dict(described)
        self.record = RunRecord(output_dir)
        self.store = MlflowStore(self.uri, experiment)
        self._status = ("FINISHED", "")
        self._signal: Any = None

    @property
    def run_id(self) -> str:
        """Id of the MLflow run."""
        return self.store.run_id

    def __enter__(self) -> TrackedExperiment:
        earlier = self.record.previous.get("mlflow_run_id")
        self.record.close_stale()
        unique = self.record.start(
            self.name,
            kind="experiment",
            config=self.described,
            hparams={},
            data_files={},
            device="cpu",
            tracking_uri=without_credentials(self.uri),
        )
        if earlier is None or not self.store.reopen(earlier):
            content = self.record.content
            tags = {"kind": "experiment", "commit": str(content["commit"]), "dirty": str(content["dirty"])}
            self.store.start(unique, self.described, tags)
        self.record.update(mlflow_run_id=self.store.run_id)
        self._signal = _sigterm_interrupts()
        return self

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log final figures and files."""
        self.store.metrics([{"epoch": 0, **metrics}])
        for path in files:
            self.store.file(path)

    def fail(self, why: str) -> None:
        """Let the run end as FAILED."""
        self._status = ("FAILED", why)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
            self._status = ("KILLED" if stopped else "FAILED", f"{type(error).__name__}: {error}")
        status, why = self._status
        self.record.end(status, why or None)
        self.store.content(self.record.content, "run.json")
        self.store.end(status)
        if self._signal is not None:
            signal.signal(signal.SIGTERM, self._signal)

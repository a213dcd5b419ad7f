"""One run in an MLflow store: parameters, numbers by epoch, figures, files, and how it ended.

Without a tracking URI the store is ``sqlite:///<output_dir>/mlruns.db``. Artifacts of a sqlite store lie in
``mlruns`` beside its file, so that a store of many trainings is in no training's folder. The argument
``tracking_uri`` wins over the variable ``MLFLOW_TRACKING_URI``, which wins over that default [D-0030]. This
module and :mod:`siamed.pipeline.experiments.mlflow_registry` alone import mlflow.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "MlflowStore",
    "import_mlflow",
    "mark_killed",
    "mlflow_client",
    "tracking_store",
    "without_credentials",
]

log = logging.getLogger(__name__)

_UID = "siamed.uid"
_SQLITE = "sqlite:///"
_MAX_PARAM = 5000  # characters; MLflow refuses more than 6000


def import_mlflow() -> ModuleType:
    """MLflow, told not to report its use to its makers, which it does from its import on otherwise."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    return mlflow


def mlflow_client(uri: str) -> Any:
    """A client of the store and of its model registry; MLflow's own current store plays no part."""
    # The migrations that make a new sqlite store announce each of their hundred steps.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return import_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)


def tracking_store(output_dir: str | Path, tracking_uri: str | None = None) -> str:
    """URI of the store: the argument, else ``MLFLOW_TRACKING_URI``, else sqlite in ``output_dir``.

    Raises:
        ValueError: if it is a folder: MLflow keeps no runs in plain folders any more.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return f"{_SQLITE}{Path(output_dir).absolute() / 'mlruns.db'}"
    if "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            f"tracking_uri must be a server or database such as sqlite:////folder/mlruns.db, got {uri!r}"
        )
    return uri


def _artifacts_beside(uri: str) -> str | None:
    """``mlruns`` beside a sqlite file; None of other stores, which know a place themselves."""
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute().parent / "mlruns").as_uri()


def without_credentials(uri: str) -> str:
    """The URI of a store without a user's name and password in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        key = name.replace("#", ".")  # MLflow allows no number sign in a name
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = text[:_MAX_PARAM]
    return flat


class MlflowStore:
    """One run in an MLflow store. A store that fails later than at the start costs its entries, not the
    training.

    Args:
        uri: of :func:`tracking_store`.
        experiment: name of the experiment, made where it is missing.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.client = mlflow_client(uri)
        found = self.client.get_experiment_by_name(experiment)
        if found is not None:
            self.experiment_id = found.experiment_id
        else:
            self.experiment_id = self.client.create_experiment(
                experiment, artifact_location=_artifacts_beside(uri)
            )
        self.run_id = ""

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Make the run, with its parameters and tags; returns its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags={_UID: name, **tags})
        self.run_id = run.info.run_id
        logged = [import_mlflow().entities.Param(key, value) for key, value in _flat(params).items()]
        for start in range(0, len(logged), 100):
            self.client.log_batch(self.run_id, params=logged[start : start + 100])
        return self.run_id

    def reopen(self, run_id: str) -> bool:
        """Go on with an earlier run; returns whether the store has it."""
        try:
            self.client.update_run(run_id, status="RUNNING")
        except import_mlflow().exceptions.MlflowException:
            return False
        self.run_id = run_id
        return True

    def metrics(self, rows: list[Mapping[str, float]]) -> None:
        """Log rows of numbers, each at its ``epoch``; what is not finite is left out."""
        now, metric = int(time.time() * 1000), import_mlflow().entities.Metric
        logged = [
            metric(key, float(value), now, int(row["epoch"]))
            for row in rows
            for key, value in row.items()
            if key != "epoch" and np.isfinite(value)
        ]
        for start in range(0, len(logged), 500):
            self._try(partial(self.client.log_batch, self.run_id, metrics=logged[start : start + 500]))

    def figure(self, figure: Any, file: str) -> None:
        """Log a matplotlib figure as ``figures/FILE``."""
        self._try(lambda: self.client.log_figure(self.run_id, figure, f"figures/{file}"))

    def content(self, content: Any, file: str) -> None:
        """Log plain data as a JSON file."""
        plain = json.loads(json.dumps(content, default=str))
        self._try(lambda: self.client.log_dict(self.run_id, plain, file))

    def file(self, path: Path) -> None:
        """Log a file."""
        self._try(lambda: self.client.log_artifact(self.run_id, str(path)))

    def folder(self, folder: Path, place: str) -> None:
        """Log a folder's files below ``place``."""
        self._try(lambda: self.client.log_artifacts(self.run_id, str(folder), place))

    def tag(self, key: str, value: str) -> None:
        """Set a tag; a long value is cut."""
        self._try(lambda: self.client.set_tag(self.run_id, key, value[:_MAX_PARAM]))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._try(lambda: self.client.set_terminated(self.run_id, status=status))

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (import_mlflow().exceptions.MlflowException, OSError) as error:
            log.warning("the tracking store refused an entry: %s", error)


def mark_killed(uri: str, experiment: str, name: str, at_ms: int) -> None:
    """Mark a run KILLED where it is still RUNNING; a store that cannot be reached costs the mark.

    Args:
        uri: of the store that has the run.
        experiment: see :class:`MlflowStore`.
        name: the run's unique name.
        at_ms: when it ended, milliseconds since 1970.
    """
    try:
        store = MlflowStore(uri, experiment)
        runs = store.client.search_runs([store.experiment_id], filter_string=f"tags.`{_UID}` = '{name}'")
        for run in runs:
            if run.info.status == "RUNNING":
                store.client.set_terminated(run.info.run_id, status="KILLED", end_time=at_ms)
    except (import_mlflow().exceptions.MlflowException, OSError) as error:
        log.warning("the killed run %s could not be marked in its store: %s", name, error)

"""The Model Registry of an MLflow store: a trained bundle as a version that MLflow loads and serves.

A version is made of a run that the store has: the bundle's folder is uploaded as a logged model of that run,
with signature, example and pinned requirements, and the version points to it. All goes through a client of
the given store, so MLflow's own current store and current run are neither used nor changed.

The signature has two optional columns: ``path``, a string, and ``image``, nested arrays of double. These let
a path and an array through, from Python and through REST. Float instead of double would refuse every number
that JSON brings; a tensor signature would refuse paths. A request has one of the columns: MLflow takes no
missing cell in an array column, so rows of both kinds do not mix.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mlflow_store import import_mlflow, mlflow_client

__all__ = ["MlflowRegistry", "Servable"]

_VERSIONS = "mlflow.modelVersions"  # where MLflow's pages look for the versions of a logged model


@dataclass(frozen=True)
class Servable:
    """What MLflow needs to load and serve a bundle.

    Args:
        name: of the registered model.
        folder: the bundle's, copied whole.
        loader_module: dotted name of a module with ``_load_pyfunc``.
        example: an input as nested lists, for the column ``image``; it is stored, so it must be synthetic.
        ndim: number of its axes.
        requirements: pinned, for pip.
        metadata: further facts, kept in the model's file ``MLmodel``.
    """

    name: str
    folder: Path
    loader_module: str
    example: list[Any]
    ndim: int
    requirements: tuple[str, ...]
    metadata: Mapping[str, str]


class MlflowRegistry:
    """Registered models of a store.

    Args:
        uri: of the store, see :func:`~siamed.pipeline.experiments.mlflow_store.tracking_store`.
    """

    def __init__(self, uri: str) -> None:
        self.client = mlflow_client(uri)

    def run_status(self, run_id: str) -> str | None:
        """Status of a run, or None where the store does not have it."""
        try:
            return str(self.client.get_run(run_id).info.status)
        except import_mlflow().exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def run_named(self, name: str) -> str | None:
        """Id of the run of this name in any experiment of the store, or None."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        quoted = name.replace("'", "")
        runs = self.client.search_runs(experiments, f"attributes.run_name = '{quoted}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def version_with(self, name: str, tag: str, value: str) -> int | None:
        """The latest version of a model with this value of a tag, or None."""
        versions = self.client.search_model_versions(f"name = '{name}'")
        return max((int(v.version) for v in versions if v.tags.get(tag) == value), default=None)

    def register(
        self,
        run_id: str,
        servable: Servable,
        *,
        epoch: int | None,
        tags: Mapping[str, str],
        description: str,
        about: str,
    ) -> int:
        """Upload a bundle as a logged model of a run and make a version of it.

        Args:
            run_id: the training.
            servable: what is uploaded.
            epoch: that the weights are of; the run's metrics of this epoch are linked to the model.
            tags: of the version and of the logged model.
            description: of the version.
            about: description of the registered model, set where it is new.

        Returns:
            The version's number.
        """
        logged = self._log_model(run_id, servable, tags)
        if epoch is not None:
            self._link_metrics(run_id, logged.model_id, epoch)
        if not self.client.search_registered_models(f"name = '{servable.name}'"):
            self.client.create_registered_model(servable.name, description=about)
        # Given models:/ID a database would look for the model in MLflow's own current store, and make one.
        made = self.client.create_model_version(
            servable.name,
            logged.artifact_location,
            run_id=run_id,
            tags={**tags, "model_id": logged.model_id},
            description=description,
            model_id=logged.model_id,
        )
        version = int(made.version)
        shown = json.dumps([{"name": servable.name, "version": version}])
        self.client.set_logged_model_tags(logged.model_id, {_VERSIONS: shown})
        return version

    def _log_model(self, run_id: str, servable: Servable, tags: Mapping[str, str]) -> Any:
        mlflow = import_mlflow()
        run = self.client.get_run(run_id)
        logged = self.client.create_logged_model(
            run.info.experiment_id,
            name=servable.name,
            source_run_id=run_id,
            tags=dict(tags),
            params=run.data.params,
            model_type="MONAI bundle",
        )
        model_id = logged.model_id
        try:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "model"
                model = mlflow.models.Model(
                    run_id=run_id,
                    model_id=model_id,
                    model_uuid=model_id,
                    metadata=dict(servable.metadata),
                )
                _save(place, servable, model)
                self.client.log_model_artifacts(model_id, str(place))
        except BaseException:
            self.client.finalize_logged_model(model_id, "FAILED")
            raise
        self.client.finalize_logged_model(model_id, "READY")
        self.client.log_outputs(run_id, [mlflow.entities.LoggedModelOutput(model_id, step=0)])
        return logged

    def _link_metrics(self, run_id: str, model_id: str, epoch: int) -> None:
        metric = import_mlflow().entities.Metric
        linked = [
            # With the same time and step the run's own row is met again, and its curve does not change.
            metric(m.key, m.value, m.timestamp, m.step, model_id=model_id, run_id=run_id)
            for name in self.client.get_run(run_id).data.metrics
            for m in self.client.get_metric_history(run_id, name)
            if m.step == epoch and m.model_id is None
        ]
        if linked:
            self.client.log_batch(run_id, metrics=linked)


def _save(place: Path, servable: Servable, model: Any) -> None:
    """Write the model's folder. With requirements and signature given, MLflow runs nothing to infer them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from its import, about type hints of its own
        save_model = import_mlflow().pyfunc.save_model
    save_model(
        str(place),
        loader_module=servable.loader_module,
        data_path=str(servable.folder),
        signature=_signature(servable.ndim),
        input_example=[{"image": servable.example}],
        pip_requirements=list(servable.requirements),
        mlflow_model=model,
    )


def _signature(ndim: int) -> Any:
    mlflow = import_mlflow()
    schema, kind = mlflow.types.schema, mlflow.types.DataType

    def column(name: str, of: Any) -> Any:
        return schema.ColSpec(of, name, required=False)

    return mlflow.models.ModelSignature(
        inputs=schema.Schema([column("path", kind.string), column("image", _nested(kind.double, ndim))]),
        outputs=schema.Schema(
            [
                column("output", schema.AnyType()),
                column("shape", schema.Array(kind.long)),
                column("channels", schema.Array(kind.string)),
                column("nifti", kind.string),
            ]
        ),
    )


def _nested(kind: Any, depth: int) -> Any:
    for _ in range(depth):
        kind = import_mlflow().types.schema.Array(kind)
    return kind

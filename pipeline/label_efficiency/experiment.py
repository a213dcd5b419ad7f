"""Run a label-efficiency experiment: pretrain, train every cell, score, compare; resumable at any moment.

What is written: ``splits/`` (the nested lists of labelled subjects), ``sources/`` and ``trainings/`` (a
folder a run), ``label_efficiency.json`` (every figure), ``table.md``, ``label_efficiency.png``, ``run.json``;
and where the trainings watch themselves at more than two epochs, ``epochs.png``: how each arm learns.
In MLflow the experiment is a run, and each training one below it.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.datasets.splits import held_out
from siamed.pipeline.experiments.files import read_json, replace_file, sha256_of, write_json
from siamed.pipeline.experiments.record import RUN_FILE
from siamed.pipeline.experiments.transfer import check_left_out
from siamed.pipeline.tracking import HISTORY_FILE, TrackedExperiment

from .config import Experiment, Source
from .figures import draw_curves, draw_epochs, draw_parts, markdown_parts, markdown_table
from .plan import Cell, cells, pretraining_subjects, write_split
from .statistics import Scores, adjust, summarize
from .training import SCORES_FILE, Training, failure_of, is_done, run_all

__all__ = ["Outcome", "run_experiment", "source_folder"]

log = logging.getLogger(__name__)

RESULT_FILE = "label_efficiency.json"


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Args:
        summary: of the complete seeds; None where there is none.
        table: the same as Markdown.
        failures: training -> what it said last.
    """

    summary: Mapping[str, Any] | None
    table: str
    failures: Mapping[str, str]


def run_experiment(
    experiment: Experiment,
    out: Path,
    jobs: int = 1,
    tracking_uri: str | None = None,
    keep_weights: bool = False,
    show: Callable[[str, int, int], None] = lambda what, done, total: None,
    leave_out: Collection[str] = (),
    report: Callable[[Mapping[str, Any]], Sequence[Path]] = lambda summary: (),
) -> Outcome:
    """Do what is not done yet, and say what all of it shows.

    Args:
        experiment: of :func:`~siamed.pipeline.label_efficiency.config.read_experiment`.
        out: folder of the experiment.
        jobs: trainings at a time.
        tracking_uri: an MLflow store; default a sqlite file in ``out``.
        keep_weights: keep the checkpoints of the scored trainings and build a bundle of each; the sources'
            are always kept.
        show: called with (what, done, total) as the work goes on.
        leave_out: held-out subjects whose scores are not counted: those that a choice must not go by.
        report: called with the summary before the experiment's run ends: writes more of it into ``out`` and
            gives the files, which the run then holds too.

    Raises:
        ValueError: if ``out`` holds another experiment, or a source has seen a fold's held-out subjects.
    """
    out = Path(out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    plan = cells(experiment)
    for source in experiment.sources.values():
        if source.run is not None:
            for fold in experiment.folds:
                what = f"sources#{source.name}#run"
                check_left_out(source_folder(source, fold, out), experiment.split, fold, what)
    _warn_of_seen(experiment)
    with TrackedExperiment(
        out, bundle_path(experiment.bundle).name, experiment.name, tracking_uri, _described(experiment)
    ) as tracked:
        common = {"tracking_uri": tracked.uri}
        tags = {"mlflow.parentRunId": tracked.run_id, "experiment": experiment.name}
        failures = _pretrain(experiment, out, jobs, common, tags, show)
        if failures:
            tracked.fail(f"{len(failures)} pretrainings failed")
            return Outcome(None, "", failures)
        trainings = [_cell_training(experiment, cell, out, common, tags, keep_weights) for cell in plan]
        failures = _run(trainings, jobs, "training", show)
        outcome = _conclude(experiment, plan, out, failures, leave_out)
        if outcome.summary is not None:
            written = [out / n for n in (RESULT_FILE, "table.md", "label_efficiency.png", "epochs.png")]
            written += report(outcome.summary)
            tracked.log(_metrics(outcome.summary), [file for file in written if file.is_file()])
        if failures:
            tracked.fail(f"{len(failures)} trainings failed")
    return outcome


def _described(experiment: Experiment) -> dict[str, Any]:
    return {
        "split_sha256": sha256_of(experiment.split),
        "folds": list(experiment.folds),
        "seeds": list(experiment.seeds),
        "budgets": [budget.text for budget in experiment.budgets],
        "options": dict(experiment.options),
        "sources": {name: vars(source) for name, source in experiment.sources.items()},
        "arms": {name: vars(arm) for name, arm in experiment.arms.items()},
        "reference": experiment.reference,
        "measure": experiment.scorer.measure,
    }


def _pretrain(
    experiment: Experiment,
    out: Path,
    jobs: int,
    common: Mapping[str, Any],
    tags: Mapping[str, str],
    show: Callable[[str, int, int], None],
) -> dict[str, str]:
    """Train the sources, those that others start from first; what failed, and why."""
    waiting = [source for source in experiment.sources.values() if source.run is None]
    while waiting:
        names = {source.name for source in waiting}
        ready = [source for source in waiting if source.after not in names]
        trainings = [
            _source_training(experiment, source, fold, out, common, tags)
            for source in ready
            for fold in experiment.folds
        ]
        failures = _run(trainings, 1 if len(trainings) == 1 else jobs, "pretraining", show)
        if failures:
            return failures
        waiting = [source for source in waiting if source not in ready]
    return {}


def _warn_of_seen(experiment: Experiment) -> None:
    for fold in experiment.folds:
        scored = held_out(experiment.split, fold)
        seen = sorted(set(scored) & set(pretraining_subjects(experiment, fold)))
        if seen:
            log.warning(
                "fold %d: %d of its %d scored subjects are pretrained on", fold, len(seen), len(scored)
            )


def source_folder(source: Source, fold: int, out: Path) -> Path:
    """Folder of a source's run that left a fold out.

    Args:
        source: of the experiment.
        fold: left out.
        out: folder of the experiment.
    """
    if source.run is not None:
        return Path(source.run.format(fold=fold)).absolute()
    return out / "sources" / source.name / f"fold_{fold}"


def _started_from(source: Source, fold: int, out: Path) -> dict[str, Any]:
    """Overrides of a training that starts from a source."""
    run = source_folder(source, fold, out)
    return {
        "pretrained": str(run),
        "parent_run": read_json(run / RUN_FILE).get("mlflow_run_id"),
    }


def _source_training(
    experiment: Experiment,
    source: Source,
    fold: int,
    out: Path,
    common: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Training:
    own: dict[str, Any] = {"split": str(source.split or experiment.split), "fold": fold}
    if source.after is not None:
        own |= _started_from(experiment.sources[source.after], fold, out)
    return Training(
        name=f"{source.name}, fold {fold}",
        bundle=str(source.bundle),
        folder=source_folder(source, fold, out),
        overrides={**source.options, **own, **common},
        tags={**tags, "source": source.name, "fold": str(fold)},
        overlays=source.overlays,
    )


def _cell_training(
    experiment: Experiment,
    cell: Cell,
    out: Path,
    common: Mapping[str, Any],
    tags: Mapping[str, str],
    keep_weights: bool,
) -> Training:
    arm = experiment.arms[cell.arm]
    own: dict[str, Any] = {"split": str(write_split(experiment, cell, out)), "hparams#seed": cell.seed}
    if arm.source is not None:
        own |= _started_from(experiment.sources[arm.source], cell.fold, out)
    return Training(
        name=f"{cell.arm}, {cell.budget.text}, seed {cell.seed}, fold {cell.fold}",
        bundle=experiment.bundle,
        folder=out / cell.place,
        overrides={**experiment.options, **arm.options, **own, **common},
        tags={
            **tags,
            "arm": cell.arm,
            "budget": cell.budget.text,
            "subjects": str(cell.subjects),
            "fold": str(cell.fold),
        },
        scorer=experiment.scorer,
        keep_weights=keep_weights,
    )


def _run(
    trainings: list[Training], jobs: int, what: str, show: Callable[[str, int, int], None]
) -> dict[str, str]:
    missing = [training for training in trainings if not is_done(training)]
    done, failures = len(trainings) - len(missing), {}
    show(what, done, len(trainings))
    for training, status, seconds in run_all(missing, jobs):
        done += 1
        if status != 0 or not is_done(training):
            failures[training.name] = failure_of(training)
            log.error("%s failed: %s", training.name, failures[training.name])
        else:
            scores = read_json(training.folder / SCORES_FILE)
            said = f": {scores['measure']} {scores['figure']:.3f}" if scores else ""
            log.info("%d of %d, %s, %.0f s%s", done, len(trainings), training.name, seconds, said)
        show(training.name, done, len(trainings))
    return failures


def _conclude(
    experiment: Experiment,
    plan: list[Cell],
    out: Path,
    failures: Mapping[str, str],
    leave_out: Collection[str],
) -> Outcome:
    found = {cell: read_json(out / cell.place / SCORES_FILE) for cell in plan}
    whole = [s for s in experiment.seeds if all(found[c] is not None for c in plan if c.seed == s)]
    if not whole:
        return Outcome(None, "", failures)
    scorer, texts = experiment.scorer, [budget.text for budget in experiment.budgets]
    scores = _gather(experiment, plan, found, whole, leave_out)
    parts = {
        name: summarize(scores.part(place), scorer.figure, experiment.reference)
        for place, name in enumerate(scorer.parts)
    }
    summary, title = parts[scorer.parts[0]], experiment.name.replace("_", " ")
    table = markdown_table(summary, texts, scorer.measure)
    entries = {"name": experiment.name, "measure": scorer.measure, "budgets": texts, "whole_seeds": whole}
    content = {**entries, **summary}
    if len(parts) > 1:
        parts = copy.deepcopy(parts)  # in the first table p is of the tests of that table alone
        adjust(list(parts.values()))
        table += "\n" + markdown_parts(parts, texts[-1], scorer.measure)
        content["parts"] = parts
    write_json(out / RESULT_FILE, content)
    replace_file(out / "table.md", lambda beside: beside.write_text(table, encoding="utf-8"))
    if len(texts) > 1:
        figure = draw_curves(summary, scorer.measure, title)
    else:
        figure = draw_parts(parts, scorer.measure, title)
    replace_file(out / "label_efficiency.png", partial(figure.savefig, dpi=150, format="png"))
    largest = [cell for cell in plan if cell.seed in whole and cell.budget == experiment.budgets[-1]]
    metric, watched = _watched([(cell.arm, out / cell.place) for cell in largest])
    if watched and all(len(epochs) > 2 for epochs in watched.values()):
        what = f"{metric.removeprefix('val_')}, watched subjects"
        figure = draw_epochs(watched, what, f"{title}, {texts[-1]} labelled", experiment.reference)
        replace_file(out / "epochs.png", partial(figure.savefig, dpi=150, format="png"))
    return Outcome(content, table, failures)


def _watched(runs: Collection[tuple[str, Path]]) -> tuple[str, dict[str, dict[int, list[float]]]]:
    """The metric that the trainings watch: its name, and arm -> epoch -> its value in each of them."""
    found: dict[str, dict[int, list[float]]] = {}
    name = ""
    for arm, run in runs:
        best, history = read_json(run / RUN_FILE).get("best_metric"), read_json(run / HISTORY_FILE)
        if best is None or history is None:
            return "", {}
        name = f"val_{best['name']}"
        for row in history:
            if name in row:
                found.setdefault(arm, {}).setdefault(row["epoch"], []).append(row[name])
    return name, found


def _gather(
    experiment: Experiment,
    plan: list[Cell],
    found: Mapping[Cell, Any],
    seeds: list[int],
    leave_out: Collection[str],
) -> Scores:
    """Sums of whole seeds, on the subjects that every training of theirs scored."""
    by_place: dict[tuple[str, int, int], dict[str, Any]] = {}
    for cell in plan:
        if cell.seed in seeds:
            place = experiment.budgets.index(cell.budget)
            by_place.setdefault((cell.arm, place, cell.seed), {}).update(found[cell]["subjects"])
    subjects = sorted(set.intersection(*(set(part) for part in by_place.values())) - set(leave_out))
    if not subjects:
        raise ValueError("leave_out must leave a scored subject, it names them all")
    sums = {
        (arm, place): np.stack(
            [np.array([by_place[arm, place, seed][s] for s in subjects], float) for seed in seeds]
        )
        for arm in experiment.arms
        for place in range(len(experiment.budgets))
    }
    counts = [
        float(np.mean([cell.subjects for cell in plan if cell.budget == budget]))
        for budget in experiment.budgets
    ]
    return Scores(tuple(experiment.arms), tuple(counts), sums)


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    metrics = {}
    for arm, entry in summary["arms"].items():
        for text, row in zip(summary["budgets"], entry["budgets"], strict=True):
            metrics[f"{arm}_{_spelled(text)}"] = row["mean"]
        if entry["reaches_reference"]["saved"] is not None:
            metrics[f"{arm}_labels_saved"] = entry["reaches_reference"]["saved"]
    for part, its_summary in summary.get("parts", {}).items():
        for arm, entry in its_summary["arms"].items():
            metrics[f"{_spelled(part)}_{arm}"] = entry["budgets"][-1]["mean"]
    return metrics


def _spelled(name: str) -> str:
    """As MLflow takes it."""
    return re.sub(r"\W+", "_", name.replace("%", "pct"))

"""Run a leaderboard: its experiment, then what each task cost, how well it was solved, and the verdict.

What is written beside the files of :mod:`siamed.pipeline.label_efficiency.experiment`: ``leaderboard.md``
(table and verdict), ``leaderboard.png`` (ranked differences) and ``leaderboard.json`` (every figure of both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.datasets.splits import held_out
from siamed.pipeline.experiments.files import read_json, replace_file, write_json
from siamed.pipeline.label_efficiency.config import Experiment, Source
from siamed.pipeline.label_efficiency.experiment import Outcome, run_experiment, source_folder
from siamed.pipeline.label_efficiency.plan import cells, pretraining_subjects

from .config import DECODER_OPTION
from .figures import draw_ranking, markdown_board
from .spent import Spent, spent_in, task_scores
from .verdict import LEVEL, few_words, mean_difference, pool_words, ranked, short_verdict, verdict_lines

__all__ = ["go_on_words", "run_leaderboard"]

_TEXT, _FIGURES, _PICTURE = "leaderboard.md", "leaderboard.json", "leaderboard.png"


def run_leaderboard(
    experiment: Experiment,
    out: Path,
    jobs: int = 1,
    tracking_uri: str | None = None,
    show: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Outcome:
    """Do what is not done yet, and say which task saves labels.

    Args:
        experiment: of :func:`~siamed.pipeline.leaderboard.config.read_leaderboard`.
        out: folder of the leaderboard.
        jobs: trainings at a time.
        tracking_uri: an MLflow store; default a sqlite file in ``out``.
        show: called with (what, done, total) as the work goes on.

    Returns:
        As :func:`~siamed.pipeline.label_efficiency.experiment.run_experiment`, the table being the content of
        ``leaderboard.md``.

    Raises:
        ValueError: if ``out`` holds another experiment.
    """
    out = Path(out).absolute()
    outcome = run_experiment(
        experiment, out, jobs, tracking_uri, show=show, report=partial(_report, experiment, out)
    )
    if outcome.summary is None:
        return outcome
    return replace(outcome, table=(out / _TEXT).read_text(encoding="utf-8"))


def go_on_words(experiment: Experiment, failures: Iterable[str]) -> str:
    """How to go on without the tasks that failed; empty where that is no way.

    Args:
        experiment: see :func:`run_leaderboard`.
        failures: names of the trainings that failed: a source's or an arm's, a comma, and which of them.
    """
    failed = {name.partition(",")[0] for name in failures}
    tasks = {arm: {source.name for source in _chain(experiment, arm)} for arm in _tasks(experiment)}
    left = [task for task, sources in tasks.items() if not sources & failed]
    if experiment.reference in failed or len(left) in (0, len(tasks)):
        return ""
    return (
        f"What is done is kept. To go on without what failed, run it again with pretexts=[{','.join(left)}]"
    )


def _tasks(experiment: Experiment) -> list[str]:
    return [arm for arm in experiment.arms if arm != experiment.reference]


def _chain(experiment: Experiment, task: str) -> list[Source]:
    """The source of a task and those that it starts from, the last one first."""
    found: list[Source] = []
    name = experiment.arms[task].source
    while name is not None:
        found.append(experiment.sources[name])
        name = found[-1].after
    return found


def _report(experiment: Experiment, out: Path, summary: Mapping[str, Any]) -> list[Path]:
    """Write the leaderboard; its files."""
    board = _board(experiment, out, summary)
    text, figure = markdown_board(board, len(experiment.folds)), draw_ranking(board)
    write_json(out / _FIGURES, board)
    replace_file(out / _TEXT, lambda beside: beside.write_text(text, encoding="utf-8"))
    replace_file(out / _PICTURE, partial(figure.savefig, dpi=150, format="png"))
    return [out / name for name in (_TEXT, _FIGURES, _PICTURE)]


def _board(experiment: Experiment, out: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    whole, seeds = summary["whole_seeds"], list(experiment.seeds)
    lines = [*verdict_lines(summary), few_words(summary)]
    if whole != seeds:
        lines.append(f"Unfinished: of the seeds {seeds} only {whole} are whole and counted.")
    return {
        **{key: summary[key] for key in ("name", "measure", "budgets", "subjects_labelled")},
        **{key: summary[key] for key in ("subjects_scored", "whole_seeds")},
        "bundle": bundle_path(experiment.bundle).name,
        "seeds": seeds,
        "level": LEVEL,
        "verdict": lines,
        "pool": _pool(experiment),
        "tasks": {task: _task(experiment, out, summary, task) for task in ranked(summary)},
        "reference": {
            "name": experiment.reference,
            **summary["arms"][experiment.reference],
            "training": vars(_trained(experiment, out, experiment.reference)),
        },
    }


def _task(experiment: Experiment, out: Path, summary: Mapping[str, Any], task: str) -> dict[str, Any]:
    chain = _chain(experiment, task)
    runs = [[source_folder(source, fold, out) for fold in experiment.folds] for source in chain]
    has_decoder = bool(experiment.arms[task].options.get(DECODER_OPTION))
    return {
        "verdict": short_verdict(summary, task),
        "mean_difference": mean_difference(summary, task),
        **summary["arms"][task],
        "after": [source.name for source in chain[1:]],
        "hands_on": ["encoder", *["decoder"] * has_decoder],
        "score": task_scores(runs[0]),
        "pretraining": vars(spent_in(run for part in runs for run in part)),
        "training": vars(_trained(experiment, out, task)),
    }


def _trained(experiment: Experiment, out: Path, arm: str) -> Spent:
    return spent_in(out / cell.place for cell in cells(experiment) if cell.arm == arm)


def _pool(experiment: Experiment) -> dict[str, Any]:
    pools = [pretraining_subjects(experiment, fold) for fold in experiment.folds]
    scored = [held_out(experiment.split, fold) for fold in experiment.folds]
    own = next((source.split.name for source in experiment.sources.values() if source.split), None)
    unit = "draw" if "draws" in read_json(experiment.split) else "fold"
    return {
        "words": pool_words(pools, scored, unit, own),
        "subjects": [len(pool) for pool in pools],
        "scored_in_it": [sorted(set(pool) & set(those)) for pool, those in zip(pools, scored, strict=True)],
    }

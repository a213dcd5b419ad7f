"""``siamed label-efficiency | leaderboard``: experiments of many trainings."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import open_console, progress
from .options import Debug, Entries, Quiet, entries_of

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.label_efficiency.experiment import Outcome

__all__ = ["label_efficiency", "leaderboard"]

Jobs = Annotated[int, typer.Option(min=1, help="Trainings at a time.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow store; else a file in the folder.", show_default=False)
]


def label_efficiency(
    config: Annotated[
        Path, typer.Argument(help="YAML of the experiment: arms, label budgets, seeds.", show_default=False)
    ],
    entries: Entries = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the experiment; run again to go on with it.")
    ] = Path("runs/label_efficiency"),
    jobs: Jobs = 1,
    tracking_uri: TrackingUri = None,
    keep_weights: Annotated[
        bool, typer.Option(help="Keep the weights of scored trainings, as bundles.")
    ] = False,
    leave_out: Annotated[
        Path | None,
        typer.Option(help="JSON list of subjects whose scores are not counted.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare pretrained and other arms at several label budgets: table, paired tests, labels saved, plot."""
    console = open_console(quiet, debug, _level())
    values = entries_of(entries)

    from siamed.pipeline.label_efficiency.config import read_experiment
    from siamed.pipeline.label_efficiency.experiment import run_experiment

    try:
        experiment = read_experiment(config, values)
        uncounted = json.loads(leave_out.read_text(encoding="utf-8")) if leave_out else []
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    with progress(console) as show:
        try:
            outcome = run_experiment(experiment, out, jobs, tracking_uri, keep_weights, show, uncounted)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    _say(console, outcome, out)


def leaderboard(
    config: Annotated[
        Path, typer.Argument(help="YAML of the leaderboard: tasks, label budgets, seeds.", show_default=False)
    ],
    entries: Entries = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the leaderboard; run again to go on with it.")
    ] = Path("runs/leaderboard"),
    jobs: Jobs = 1,
    tracking_uri: TrackingUri = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Try every self-supervised task on one backbone: which one saves labels on your data, at what cost."""
    console = open_console(quiet, debug, _level())
    values = entries_of(entries)

    from siamed.pipeline.leaderboard.board import go_on_words, run_leaderboard
    from siamed.pipeline.leaderboard.config import read_leaderboard

    try:
        experiment = read_leaderboard(config, values)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    with progress(console) as show:
        try:
            outcome = run_leaderboard(experiment, out, jobs, tracking_uri, show)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    _say(console, outcome, out, go_on_words(experiment, outcome.failures))


def _level() -> int:
    """A line a training where no bar is seen."""
    return logging.ERROR if sys.stderr.isatty() else logging.INFO


def _say(console: Console, outcome: Outcome, out: Path, hint: str = "") -> None:
    """Give the table; say what failed, and end with status 1 if anything did."""
    if outcome.table:
        typer.echo(outcome.table, nl=False)
        console.print(f"Figures and plot: {out}", markup=False, soft_wrap=True)
    for name, why in outcome.failures.items():
        console.print(f"{name} failed: {why}", style="red", markup=False, soft_wrap=True)
    if outcome.failures:
        if hint:
            console.print(hint, markup=False, soft_wrap=True)
        raise typer.Exit(1)

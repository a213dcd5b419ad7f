"""``siamed label-efficiency``: experiments of many trainings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from .console import open_console, progress
from .options import Debug, Quiet, entries_of

__all__ = ["label_efficiency"]


def label_efficiency(
    config: Annotated[
        Path, typer.Argument(help="YAML of the experiment: arms, label budgets, seeds.", show_default=False)
    ],
    entries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Entries of it that take another value, as in crops_file=crops.npz.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the experiment; run again to go on with it.")
    ] = Path("runs/label_efficiency"),
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store; else a file in the folder.", show_default=False)
    ] = None,
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
    console = open_console(quiet, debug)
    if not (quiet or debug or console.is_terminal):
        logging.getLogger("siamed").setLevel(logging.INFO)  # where no bar is seen, a line a training
    values = entries_of(entries or [])

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
    if outcome.table:
        typer.echo(outcome.table, nl=False)
        console.print(f"Figures and plot: {out}", markup=False, soft_wrap=True)
    for name, why in outcome.failures.items():
        console.print(f"{name} failed: {why}", style="red", markup=False, soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)

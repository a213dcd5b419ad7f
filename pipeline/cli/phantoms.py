"""Commands that write phantoms: ``siamed phantom | phantom-cohort``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet

__all__ = ["phantom", "phantom_cohort"]


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the DICOM study.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Write a phantom lumbar study as DICOM, for a demo and for tests, never for a claim."""
    from siamed.pipeline.phantoms import write_study

    folder = write_study(out)
    if not quiet:
        typer.echo(f"A phantom study lies in {folder}", err=True)


def phantom_cohort(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the cohort.", show_default=False)],
    subjects: Annotated[int, typer.Option(min=10, help="Persons; some are twins.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the cohort.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write phantom persons with follow-up scans, cut into volumes for pretraining and grading."""
    from siamed.pipeline.phantoms.cohort import write_cohort

    folder = write_cohort(out, subjects, seed)
    if not quiet:
        typer.echo(f"A phantom cohort lies in {folder}", err=True)

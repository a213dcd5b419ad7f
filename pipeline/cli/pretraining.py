"""``siamed pretrain``: learn from scans without labels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .console import open_console
from .options import PRETRAINING_BUNDLE, Debug, Entries, Quiet, entries_of

__all__ = ["pretrain"]


def pretrain(
    images: Annotated[
        Path, typer.Option(help="Folder of scans without labels: NIfTI files, or DICOM.", show_default=False)
    ],
    entries: Entries = None,
    pretext: Annotated[str, typer.Option(help="The task; an unknown one lists them all.")] = "masked_pixels",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run; run again to go on with it.")
    ] = Path("runs/pretraining"),
    look: Annotated[
        bool, typer.Option("--look", help="Only draw inputs and free labels: items.png in the folder.")
    ] = False,
    bundle: Annotated[
        str, typer.Option(help="Name or folder of the bundle whose tasks are meant.")
    ] = PRETRAINING_BUNDLE,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Pretrain a network on scans without labels by a task of your choice; its bundle starts others."""
    console = open_console(quiet, debug, logging.INFO)
    values = entries_of(entries)

    from siamed.pipeline.experiments.train_bundle import cause_of
    from siamed.pipeline.pretexts.pretrain import Pretraining
    from siamed.pipeline.pretexts.pretrain import look as draw
    from siamed.pipeline.pretexts.pretrain import pretrain as train
    from siamed.pipeline.pretexts.scans import scans_folder

    wanted = Pretraining(bundle, pretext, images, values)
    try:
        wanted.check()
        wanted = replace(wanted, images=scans_folder(images, out))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        typer.echo(draw(wanted, out / "items.png") if look else train(wanted, out))
    except (RuntimeError, ValueError, ArithmeticError) as error:
        if debug:
            raise
        console.print(f"{cause_of(error)}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error

"""``siamed pretrain``: learn from scans without labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from .console import open_console
from .options import PRETRAINING_BUNDLE, Debug, Quiet, entries_of

__all__ = ["pretrain"]


def pretrain(
    images: Annotated[
        Path, typer.Option(help="Folder of scans without labels: NIfTI files, or DICOM.", show_default=False)
    ],
    entries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Entries of the train configuration that take another value, as in hparams#max_epochs=40.",
        ),
    ] = None,
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
    open_console(quiet, debug)
    if not quiet:
        logging.getLogger("siamed").setLevel(logging.DEBUG if debug else logging.INFO)
    values = entries_of(entries or [])

    from siamed.pipeline.pretexts.pretrain import Pretraining
    from siamed.pipeline.pretexts.pretrain import look as draw
    from siamed.pipeline.pretexts.pretrain import pretrain as train
    from siamed.pipeline.pretexts.scans import scans_folder

    try:
        wanted = Pretraining(bundle, pretext, scans_folder(images, out), values)
        if look:
            typer.echo(draw(wanted, out / "items.png"))
            return
        typer.echo(train(wanted, out))
    except (ValueError, FloatingPointError) as error:
        raise typer.BadParameter(str(error)) from error

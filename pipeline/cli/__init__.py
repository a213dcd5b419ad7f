"""The command line: ``siamed detect | extract | grade | embed | segment | compare | pretrain | ...``.

What a command needs is imported when the command runs, so that ``siamed --help`` answers at once. Progress,
messages and warnings go to the standard error stream, results to files and, with ``--json``, to the standard
output.

Exit codes: 0 all cases done; 1 at least one case failed (see cases.csv); 2 the command was used wrongly;
130 interrupted.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from siamed import __version__

from .bundles import bundle
from .comparison import compare
from .console import program
from .experiments import label_efficiency, leaderboard
from .phantoms import phantom, phantom_cohort
from .pretraining import pretrain
from .scans import detect, embed, extract, grade
from .segmentation import segment

__all__ = ["app", "main"]

app = typer.Typer(
    name="siamed",
    help="Lumbar MR to named vertebrae and graded discs, CT to kidneys. Research use only, not a diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"siamed {__version__}")
        raise typer.Exit()


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Let bundles that siamed does not ship run any code that they name."),
    ] = False,
) -> None:
    if trust:
        os.environ["SIAMED_TRUST"] = "1"  # processes that commands start read it too


COMMANDS = (
    detect,
    extract,
    grade,
    embed,
    segment,
    compare,
    pretrain,
    label_efficiency,
    leaderboard,
    phantom,
    phantom_cohort,
)
for command in COMMANDS:
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(bundle, name="bundle")


def main() -> None:
    """Entry point of the program ``siamed``."""
    program.is_running = True
    app(prog_name="siamed")

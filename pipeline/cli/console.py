"""What the program says while it works: progress, messages, failures, all on the standard error stream."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.cases import Outcome

__all__ = ["open_console", "program", "progress", "say_failure", "warm_up"]


class _Program:
    # Only the program itself may load MONAI without its optional parts, not a process that imports `app`.
    is_running = False


program = _Program()


def open_console(quiet: bool, debug: bool, level: int = logging.ERROR) -> Console:
    """The console of a command, its log messages set up.

    Args:
        quiet: no progress and no messages but errors.
        debug: all log messages.
        level: of the log messages that are shown if it is neither.
    """
    from rich.console import Console

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    shown = logging.DEBUG if debug else logging.ERROR if quiet else level
    logging.getLogger("siamed").setLevel(shown)
    if not debug:
        warnings.simplefilter("ignore")  # of dependencies about themselves; ours are in the results
    return Console(stderr=True, quiet=quiet, highlight=False)


def warm_up() -> None:
    """Load MONAI as commands that read scans need it."""
    if program.is_running:
        from siamed.pipeline.startup import import_monai_lean

        import_monai_lean()


def say_failure(console: Console, outcome: Outcome) -> None:
    """Say why a case failed and what to do, where it did."""
    if outcome.failure is not None:
        message = f"{outcome.case_id}: {outcome.failure.reason}. {outcome.failure.hint}"
        console.print(message, style="red", markup=False, soft_wrap=True)


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, float, int], None]]:
    """A bar while the terminal is one; ``show(what, done, total)`` moves it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: float, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show

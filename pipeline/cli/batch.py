"""What commands that read scans one by one share: find the cases, do the work, deliver what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .console import progress, say_failure, warm_up

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.cases import CaseFiles, Outcome
    from siamed.pipeline.scans import Case

__all__ = ["check_places", "run_cases"]


def check_places(out: Path | None, as_json: bool, dicom: bool = False) -> None:
    """Refuse options that leave nowhere to write to.

    Raises:
        typer.BadParameter: naming the option.
    """
    if dicom and out is None:
        raise typer.BadParameter("needs a folder for its files", param_hint="--dicom")
    if out is None and not as_json:
        raise typer.BadParameter("give a folder for the results, or --json", param_hint="--out")
    if out is not None and out.exists() and not out.is_dir():
        raise typer.BadParameter("must be a folder, and a file of that name exists", param_hint="--out")


def run_cases(
    paths: list[Path],
    out: Path | None,
    as_json: bool,
    console: Console,
    files: Callable[[], CaseFiles],
    load: Callable[[int, Callable[[float], None]], Callable[[Case], Any]],
    summary: Callable[[Any], str],
) -> None:
    """Run a command over all cases under some paths; exits with 1 if one of them fails.

    Args:
        paths: files and folders.
        out: folder for the results; None for none.
        as_json: write a line of JSON a case to the standard output.
        console: for progress and messages.
        files: makes what writes a reading's files.
        load: loads the networks, returns the work on one case; takes the number of cases, and what the work
            may tell the share of a case that is done.
        summary: what a result says, in a line.
    """
    from rich.console import Console

    warm_up()
    from siamed.pipeline.cases import gather_cases, run_case

    with progress(console) as show:
        show("Looking for scans", 0, 0)
        cases, outcomes = gather_cases(paths)
        total = len(cases) + len(outcomes)
        failed = 0
        deliver = _deliver(out, total == 1, as_json, console, files, summary)
        if cases:
            show("Loading the networks", len(outcomes), total)
            work = load(total, lambda share: show(case.case_id, number + share, total))
        for outcome in outcomes:
            failed += deliver(outcome)
        for number, case in enumerate(cases, len(outcomes)):
            show(case.case_id, number, total)
            failed += deliver(run_case(case, work))
    if failed:
        Console(stderr=True, highlight=False).print(
            f"{failed} of {total} cases failed" + (f", see {out / 'cases.csv'}" if out else ""), style="red"
        )
        raise typer.Exit(1)


def _deliver(
    out: Path | None,
    single: bool,
    as_json: bool,
    console: Console,
    files: Callable[[], CaseFiles],
    summary: Callable[[Any], str],
) -> Callable[[Outcome], bool]:
    """Return what writes an outcome wherever it is wanted, and tells whether the case failed."""
    from siamed.pipeline.cases import Output

    output = Output(out, single, files()) if out is not None else None

    def deliver(outcome: Outcome) -> bool:
        if output is not None:
            outcome = output.add(outcome)
        if as_json:
            typer.echo(json.dumps(_as_json(outcome), ensure_ascii=False, allow_nan=False))
        say_failure(console, outcome)
        if outcome.failure is None and outcome.result is not None:
            place = f": {output.folder_of(outcome.case_id) / 'report.html'}" if output is not None else ""
            line = f"{outcome.case_id}: {summary(outcome.result)}{_warned(outcome.result)}{place}"
            console.print(line, markup=False, soft_wrap=True)
        return outcome.failure is not None

    return deliver


def _warned(result: Any) -> str:
    count = len(result.warnings)
    return f", {count} warning{'s' * (count > 1)}" if count else ""


def _as_json(outcome: Outcome) -> dict[str, Any]:
    if outcome.failure is not None:
        failure = {
            "code": outcome.failure.code,
            "reason": outcome.failure.reason,
            "what_to_do": outcome.failure.hint,
        }
        return {"case_id": outcome.case_id, "status": "failed", "failure": failure}
    result = outcome.result.to_dict() if outcome.result is not None else None
    return {"case_id": outcome.case_id, "status": "done", "result": result}

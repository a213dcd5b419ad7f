"""The command line: ``siamed detect | extract | grade | embed | compare | label-efficiency | ...``.

What a command needs is imported when the command runs, so that ``siamed --help`` answers at once. Progress,
messages and warnings go to the standard error stream, results to files and, with ``--json``, to the standard
output.

Exit codes: 0 all cases done; 1 at least one case failed (see cases.csv); 2 the command was used wrongly;
130 interrupted.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from siamed import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.cases import Outcome
    from siamed.pipeline.pairs.encoder import Comparison, Embeddings
    from siamed.pipeline.scans import Case
    from siamed.pipeline.spine import SpineReader

__all__ = ["app", "main"]

# The names in pipeline/spine.py, which would load NumPy; a test holds them together.
DETECTION_BUNDLE = "spine_mr_vertebra_detection"
GRADING_BUNDLE = "spine_mr_disc_grading"
ENCODING_BUNDLE = "spine_mr_siamese_pretraining"


class _Bundles(NamedTuple):
    detection: str
    grading: str | None = None
    encoding: str | None = None


class _Process:
    # Only the program itself may load MONAI without its optional parts, not a process that imports `app`.
    is_ours = False


_process = _Process()

app = typer.Typer(
    name="siamed",
    help="From a lumbar MR to named vertebrae and graded discs. Research use only, not a diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Paths = Annotated[
    list[Path],
    typer.Argument(
        help="Scans: files, series or study folders, or folders of them (DICOM, NIfTI, MHA, NRRD).",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the results; needed unless --json.", show_default=False),
]
Series = Annotated[
    str | None,
    typer.Option(
        help="Series of a DICOM study: number, description or SeriesInstanceUID; else the sagittal T2.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[
    bool, typer.Option("--json", help="Also write one line of JSON a case to the standard output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show log messages, and tracebacks of internal errors.")]
DetectionBundle = Annotated[str, typer.Option(help="Name or folder of the bundle that finds the vertebrae.")]
GradingBundle = Annotated[str, typer.Option(help="Name or folder of the bundle that grades the discs.")]
EncodingBundle = Annotated[str, typer.Option(help="Name or folder of the bundle that embeds the bodies.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"siamed {__version__}")
        raise typer.Exit()


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def detect(
    paths: Paths,
    out: Out = None,
    series: Series = None,
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find and name the vertebrae: result.json and report.html."""
    _run("detect", paths, out, series, device, _Bundles(detection_bundle), as_json, quiet, debug)


@app.command()
def extract(
    paths: Paths,
    out: Out = None,
    series: Series = None,
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Cut out vertebral bodies and discs: volumes/ as NIfTI, volumes.csv, result.json and report.html."""
    _run("extract", paths, out, series, device, _Bundles(detection_bundle), as_json, quiet, debug)


@app.command()
def grade(
    paths: Paths,
    out: Out = None,
    series: Series = None,
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    grading_bundle: GradingBundle = GRADING_BUNDLE,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Grade the discs: result.json, grades.csv and report.html."""
    _run(
        "grade", paths, out, series, device, _Bundles(detection_bundle, grading_bundle), as_json, quiet, debug
    )


@app.command()
def embed(
    paths: Paths,
    out: Out = None,
    series: Series = None,
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    encoding_bundle: EncodingBundle = ENCODING_BUNDLE,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Embed the vertebral bodies: embeddings.npz (level, embedding), result.json and report.html."""
    bundles = _Bundles(detection_bundle, encoding=encoding_bundle)
    _run("embed", paths, out, series, device, bundles, as_json, quiet, debug)


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(exists=True, help="A scan, or embeddings.npz of one.", show_default=False)
    ],
    second: Annotated[Path, typer.Argument(exists=True, help="The other one.", show_default=False)],
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    encoding_bundle: EncodingBundle = ENCODING_BUNDLE,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Are two scans of one person? Distance and probability, level by level and for the column."""
    from dataclasses import asdict

    from rich.console import Console

    console = Console(stderr=True, quiet=quiet, highlight=False)
    _set_up_messages(debug)
    if _process.is_ours:
        from siamed.pipeline.startup import import_monai_lean

        import_monai_lean()
    from siamed.pipeline.pairs.encoder import compare_embeddings

    with _progress(console) as show:
        show("Loading the networks", 0, 2)
        reader = _load(_Bundles(detection_bundle, encoding=encoding_bundle), device)
        if reader.encoder is None or reader.encoder.calibration is None:
            raise typer.BadParameter(
                f"must have configs/calibration.json, {encoding_bundle} has none",
                param_hint="--encoding-bundle",
            )
        both = []
        for number, path in enumerate((first, second)):
            show(path.name, number, 2)
            both.append(_embeddings_of(path, reader, console))
    try:
        found = compare_embeddings(both[0], both[1], reader.encoder.calibration)
    except ValueError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(asdict(found)) if as_json else _comparison_table(found))
    for warning in found.warnings:
        console.print(f"Note: {warning}", markup=False, soft_wrap=True)


def _embeddings_of(path: Path, reader: SpineReader, console: Console) -> Embeddings:
    from siamed.pipeline.cases import gather_cases, run_case
    from siamed.pipeline.pairs.encoder import Embeddings

    if path.suffix == ".npz":
        try:
            return Embeddings.load(path)
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from error
    cases, outcomes = gather_cases([path])
    if len(cases) > 1:
        raise typer.BadParameter(f"each path must be one scan, {path.name} holds {len(cases)}")
    outcomes += [run_case(case, _work("embed", reader, None)) for case in cases]
    for outcome in outcomes:
        if outcome.failure is not None:
            message = f"{outcome.case_id}: {outcome.failure.reason}. {outcome.failure.hint}"
            console.print(message, style="red", markup=False, soft_wrap=True)
    reading = outcomes[0].reading
    if reading is None or reading.embeddings is None:
        raise typer.Exit(1)
    return reading.embeddings


def _comparison_table(found: Comparison) -> str:
    lines = ["level   distance  probability of one person"]
    lines += [f"{c.level:6s}  {c.distance:8.3f}  {c.probability:11.3f}" for c in found.levels]
    if found.distance is not None and found.probability is not None:
        lines.append(f"column  {found.distance:8.3f}  {found.probability:11.3f}")
    return "\n".join(lines)


@app.command("label-efficiency")
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
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare pretrained and other arms at several label budgets: table, paired tests, labels saved, plot."""
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet, highlight=False)
    _set_up_messages(debug)
    if not (quiet or debug or console.is_terminal):
        logging.getLogger("siamed").setLevel(logging.INFO)  # where no bar is seen, a line a training
    values = _entries(entries or [])

    from siamed.pipeline.label_efficiency.config import read_experiment
    from siamed.pipeline.label_efficiency.experiment import run_experiment

    try:
        experiment = read_experiment(config, values)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    with _progress(console) as show:
        try:
            outcome = run_experiment(experiment, out, jobs, tracking_uri, keep_weights, show)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if outcome.table:
        typer.echo(outcome.table, nl=False)
        console.print(f"Figures and plot: {out}", markup=False, soft_wrap=True)
    for name, why in outcome.failures.items():
        console.print(f"{name} failed: {why}", style="red", markup=False, soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)


def _entries(texts: list[str]) -> dict[str, Any]:
    import yaml

    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"must be KEY=VALUE, got {text!r}", param_hint="KEY=VALUE")
        values[key] = yaml.safe_load(value)
    return values


@app.command()
def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the DICOM study.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Write a phantom lumbar study as DICOM, for a demo and for tests, never for a claim."""
    from siamed.pipeline.phantoms import write_study

    folder = write_study(out)
    if not quiet:
        typer.echo(f"A phantom study lies in {folder}", err=True)


@app.command("phantom-cohort")
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


def main() -> None:
    """Entry point of the program ``siamed``."""
    _process.is_ours = True
    app(prog_name="siamed")


def _run(
    command: str,
    paths: list[Path],
    out: Path | None,
    series: str | None,
    device: str,
    bundles: _Bundles,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    from rich.console import Console

    if out is None and not as_json:
        raise typer.BadParameter("give a folder for the results, or --json", param_hint="--out")
    if out is not None and out.exists() and not out.is_dir():
        raise typer.BadParameter("must be a folder, and a file of that name exists", param_hint="--out")
    console = Console(stderr=True, quiet=quiet, highlight=False)
    _set_up_messages(debug)

    if _process.is_ours:
        from siamed.pipeline.startup import import_monai_lean

        import_monai_lean()
    from siamed.pipeline.cases import gather_cases, run_case

    with _progress(console) as show:
        show("Looking for scans", 0, 0)
        cases, outcomes = gather_cases(paths)
        total = len(cases) + len(outcomes)
        failed = 0
        deliver = _deliver(out, total == 1, as_json, console)
        for outcome in outcomes:
            failed += deliver(outcome)
        if cases:
            show("Loading the networks", len(outcomes), total)
            work = _work(command, _load(bundles, device), series)
        for number, case in enumerate(cases, len(outcomes)):
            show(case.case_id, number, total)
            failed += deliver(run_case(case, work))
    if failed:
        Console(stderr=True, highlight=False).print(
            f"{failed} of {total} cases failed" + (f", see {out / 'cases.csv'}" if out else ""), style="red"
        )
        raise typer.Exit(1)


def _load(bundles: _Bundles, device: str) -> SpineReader:
    from siamed.pipeline.spine import SpineReader

    try:
        return SpineReader.from_bundles(bundles.detection, bundles.grading, device, bundles.encoding)
    except (ValueError, OSError, RuntimeError) as error:
        raise typer.BadParameter(str(error)) from error


def _work(command: str, reader: SpineReader, series: str | None) -> Callable[[Case], Any]:
    from siamed.pipeline.scans import read_scan

    step = getattr(reader, command)
    return lambda case: step(read_scan(case, series=series))


def _deliver(out: Path | None, single: bool, as_json: bool, console: Console) -> Callable[[Outcome], bool]:
    """Return what writes an outcome wherever it is wanted, and tells whether the case failed."""
    from siamed.pipeline.cases import Output

    output = Output(out, single) if out is not None else None

    def deliver(outcome: Outcome) -> bool:
        if output is not None:
            outcome = output.add(outcome)
        if as_json:
            typer.echo(json.dumps(_as_json(outcome), ensure_ascii=False, allow_nan=False))
        if outcome.failure is not None:
            console.print(
                f"{outcome.case_id}: {outcome.failure.reason}. {outcome.failure.hint}",
                style="red",
                markup=False,
                soft_wrap=True,
            )
        elif outcome.result is not None:
            console.print(_summary(outcome, output), markup=False, soft_wrap=True)
        return outcome.failure is not None

    return deliver


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


def _summary(outcome: Outcome, output: Any) -> str:
    result = outcome.result
    if result is None:
        return outcome.case_id
    graded = sum(bool(disc.grades) for disc in result.discs)
    said = f"{outcome.case_id}: {len(result.vertebrae)} vertebrae, {len(result.discs)} discs"
    if graded:
        said += ", graded"
    if result.warnings:
        said += f", {len(result.warnings)} warning{'s' * (len(result.warnings) > 1)}"
    return said + (f": {output.folder_of(outcome.case_id) / 'report.html'}" if output is not None else "")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
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

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show


def _set_up_messages(debug: bool) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("siamed").setLevel(logging.DEBUG if debug else logging.ERROR)
    if not debug:
        warnings.simplefilter("ignore")  # of dependencies about themselves; ours are in the results


if __name__ == "__main__":
    main()

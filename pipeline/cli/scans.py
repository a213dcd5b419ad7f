"""Commands that read scans one by one: ``siamed detect | extract | grade | embed``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .batch import check_places, run_cases
from .console import open_console
from .options import (
    DETECTION_BUNDLE,
    ENCODING_BUNDLE,
    GRADING_BUNDLE,
    Bundles,
    Debug,
    DetectionBundle,
    Device,
    EncodingBundle,
    GradingBundle,
    Json,
    Out,
    Paths,
    Quiet,
    Series,
)

if TYPE_CHECKING:
    from siamed.pipeline.results import SpineResult
    from siamed.pipeline.scans import Case
    from siamed.pipeline.spine import SpineReader

__all__ = ["detect", "embed", "extract", "grade", "load_reader", "reading"]


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
    _run("detect", paths, out, series, device, Bundles(detection_bundle), as_json, quiet, debug)


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
    _run("extract", paths, out, series, device, Bundles(detection_bundle), as_json, quiet, debug)


def grade(
    paths: Paths,
    out: Out = None,
    series: Series = None,
    device: Device = "auto",
    detection_bundle: DetectionBundle = DETECTION_BUNDLE,
    grading_bundle: GradingBundle = GRADING_BUNDLE,
    hotspots: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="K",
            help="Map each grade's evidence, the mean of K views (10 is a good number): in the report, and "
            "hotspots/ as NIfTI.",
        ),
    ] = 0,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Write the grades as a DICOM structured report too, hotspots as parametric maps: dicom/. "
            "They name the patient as the scan does.",
        ),
    ] = False,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="EARLIER",
            help="Say what changed since an earlier grading of the same person: its folder, or its "
            "result.json. May be given more than once.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Grade the discs: result.json, grades.csv and report.html."""
    bundles = Bundles(detection_bundle, grading_bundle)
    _run("grade", paths, out, series, device, bundles, as_json, quiet, debug, hotspots, dicom, compare or ())


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
    bundles = Bundles(detection_bundle, encoding=encoding_bundle)
    _run("embed", paths, out, series, device, bundles, as_json, quiet, debug)


def _run(
    command: str,
    paths: list[Path],
    out: Path | None,
    series: str | None,
    device: str,
    bundles: Bundles,
    as_json: bool,
    quiet: bool,
    debug: bool,
    hotspot_views: int = 0,
    dicom: bool = False,
    compare: Sequence[Path] = (),
) -> None:
    check_places(out, as_json, dicom)
    console = open_console(quiet, debug)
    earlier = _earlier(compare)

    def files() -> Any:
        from siamed.pipeline.case_files import SpineFiles

        return SpineFiles(dicom)

    def load(total: int, tell: Callable[[float], None]) -> Callable[[Case], Any]:
        if earlier and total > 1:
            raise typer.BadParameter(f"goes with one scan, {total} were found", param_hint="--compare")
        return reading(command, load_reader(bundles, device, hotspot_views), series, dicom, earlier)

    run_cases(paths, out, as_json, console, files, load, _summary)


def _earlier(places: Sequence[Path]) -> list[SpineResult]:
    if not places:
        return []
    from siamed.pipeline.changes import read_earlier

    try:
        return [read_earlier(place) for place in places]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--compare") from error


def load_reader(bundles: Bundles, device: str, hotspot_views: int = 0) -> SpineReader:
    """Load the networks.

    Raises:
        typer.BadParameter: if a bundle cannot be loaded, or there is no such device.
    """
    from siamed.pipeline.spine import SpineReader

    try:
        return SpineReader.from_bundles(
            bundles.detection, bundles.grading, device, bundles.encoding, hotspot_views
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise typer.BadParameter(str(error)) from error


def reading(
    command: str,
    reader: SpineReader,
    series: str | None = None,
    dicom: bool = False,
    earlier: Sequence[SpineResult] = (),
) -> Callable[[Case], Any]:
    """What a command does with a case: read it, then the step of the reader that is called so.

    Args:
        command: name of the step.
        reader: with its networks.
        series: of a study, the one wanted.
        dicom: refuse a scan that is not DICOM, before the work is done.
        earlier: gradings of the same person that the present one is compared with.
    """
    from siamed.pipeline.scans import check_is_dicom, read_scan

    step = getattr(reader, command)

    def work(case: Case) -> Any:
        scan = read_scan(case, series=series)
        if dicom:
            check_is_dicom(scan)
        done = step(scan)
        return done.compared(earlier) if earlier else done

    return work


def _summary(result: SpineResult) -> str:
    graded = any(disc.grades for disc in result.discs)
    return f"{len(result.vertebrae)} vertebrae, {len(result.discs)} discs" + ", graded" * graded

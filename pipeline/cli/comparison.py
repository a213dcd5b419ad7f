"""``siamed compare``: are two scans of one person?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import open_console, progress, say_failure, warm_up
from .options import (
    DETECTION_BUNDLE,
    ENCODING_BUNDLE,
    Bundles,
    Debug,
    DetectionBundle,
    Device,
    EncodingBundle,
    Quiet,
)
from .scans import load_reader, reading

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.pairs.encoder import Comparison, Embeddings
    from siamed.pipeline.spine import SpineReader

__all__ = ["compare"]


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
    console = open_console(quiet, debug)
    warm_up()
    from siamed.pipeline.pairs.encoder import compare_embeddings

    with progress(console) as show:
        show("Loading the networks", 0, 2)
        reader = load_reader(Bundles(detection_bundle, encoding=encoding_bundle), device)
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
    outcomes += [run_case(case, reading("embed", reader)) for case in cases]
    for outcome in outcomes:
        say_failure(console, outcome)
    found = outcomes[0].reading
    if found is None or found.embeddings is None:
        raise typer.Exit(1)
    return found.embeddings


def _comparison_table(found: Comparison) -> str:
    lines = ["level   distance  probability of one person"]
    lines += [f"{c.level:6s}  {c.distance:8.3f}  {c.probability:11.3f}" for c in found.levels]
    if found.distance is not None and found.probability is not None:
        lines.append(f"column  {found.distance:8.3f}  {found.probability:11.3f}")
    return "\n".join(lines)

"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

__all__ = [
    "CT_KIDNEY_BUNDLE",
    "DETECTION_BUNDLE",
    "ENCODING_BUNDLE",
    "GRADING_BUNDLE",
    "PRETRAINING_BUNDLE",
    "Bundles",
    "Debug",
    "DetectionBundle",
    "Device",
    "EncodingBundle",
    "Entries",
    "GradingBundle",
    "Json",
    "MR_KIDNEY_BUNDLE",
    "Out",
    "Paths",
    "Quiet",
    "Series",
    "entries_of",
]

# The names in pipeline/spine.py, which would load NumPy; a test holds them together.
DETECTION_BUNDLE = "spine_mr_vertebra_detection"
GRADING_BUNDLE = "spine_mr_disc_grading"
ENCODING_BUNDLE = "spine_mr_siamese_pretraining"
# As in pipeline/kidneys/reader.py.
CT_KIDNEY_BUNDLE = "kidney_ct_segmentation"
MR_KIDNEY_BUNDLE = "kidney_mr_segmentation"
PRETRAINING_BUNDLE = "abdomen_mr_ssl_pretraining"


class Bundles(NamedTuple):
    """Bundles of a command, by what they do: names or folders."""

    detection: str
    grading: str | None = None
    encoding: str | None = None


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
Entries = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Entries of the configuration that take another value, such as dataset_dir=SCANS.",
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


def entries_of(texts: list[str] | None) -> dict[str, Any]:
    """Entries of a configuration and their values, from ``KEY=VALUE`` with values as in YAML.

    Raises:
        typer.BadParameter: if a text is none.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"must be KEY=VALUE, got {text!r}", param_hint="KEY=VALUE")
        values[key] = yaml.safe_load(value)
    return values

"""``siamed segment``: organs in CT or MR."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .batch import check_places, run_cases
from .console import open_console
from .options import CT_KIDNEY_BUNDLE, MR_KIDNEY_BUNDLE, Debug, Device, Json, Out, Paths, Quiet

if TYPE_CHECKING:
    from siamed.pipeline.scans import Case

__all__ = ["segment"]


class Organ(str, Enum):
    """What can be segmented."""

    kidneys = "kidneys"


class Modality(str, Enum):
    """What a scan can be."""

    ct = "CT"
    mr = "MR"


def segment(
    paths: Paths,
    out: Out = None,
    organ: Annotated[Organ, typer.Option(help="What is looked for.")] = Organ.kidneys,
    series: Annotated[
        str | None,
        typer.Option(
            help="Series of a DICOM study: number, description or SeriesInstanceUID; else the axial one.",
            show_default=False,
        ),
    ] = None,
    modality: Annotated[
        Modality | None,
        typer.Option(
            case_sensitive=False,
            help="Of scans whose format does not say it (NIfTI, MHA, NRRD); else their values decide.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    ct_bundle: Annotated[str, typer.Option(help="Name or folder of the bundle for CT.")] = CT_KIDNEY_BUNDLE,
    mr_bundle: Annotated[str, typer.Option(help="Name or folder of the bundle for MR.")] = MR_KIDNEY_BUNDLE,
    all_components: Annotated[
        bool,
        typer.Option(
            "--all-components", help="Keep every piece found; else the largest of each side alone is kept."
        ),
    ] = False,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Write a DICOM segmentation too: dicom/kidneys.dcm. It names the patient as the scan does.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Segment the kidneys: kidneys.nii.gz (1 right, 2 left), result.json, volumes.csv and report.html."""
    check_places(out, as_json, dicom)
    console = open_console(quiet, debug)

    def files() -> Any:
        from siamed.pipeline.kidneys.files import KidneyFiles

        return KidneyFiles(dicom)

    def load(total: int, tell: Callable[[float], None]) -> Callable[[Case], Any]:
        bundles = {"CT": ct_bundle, "MR": mr_bundle}
        said = None if modality is None else modality.value
        return _work(bundles, said, device, not all_components, series, dicom, tell)

    run_cases(paths, out, as_json, console, files, load, _summary)


def _work(
    bundles: dict[str, str],
    modality: str | None,
    device: str,
    largest: bool,
    series: str | None,
    dicom: bool,
    tell: Callable[[float], None],
) -> Callable[[Case], Any]:
    from siamed.pipeline.bundles import bundle_path
    from siamed.pipeline.devices import pick_device
    from siamed.pipeline.kidneys.reader import KidneyReader
    from siamed.pipeline.scans import check_is_dicom, read_scan

    try:
        for bundle in bundles.values():
            bundle_path(bundle)
        reader = KidneyReader(bundles, pick_device(device), largest, tell, modality)
    except (ValueError, RuntimeError) as error:
        raise typer.BadParameter(str(error)) from error

    def work(case: Case) -> Any:
        scan = read_scan(case, series=series, body_part="abdomen")
        if dicom:
            check_is_dicom(scan)
        return reader.segment(scan)

    return work


def _summary(result: Any) -> str:
    return ", ".join(f"{one.name} {one.volume_ml:.0f} ml" for one in result.structures)

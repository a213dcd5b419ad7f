"""Write what was found as DICOM objects that belong to the scan's study: a structured report and maps.

The report is a Comprehensive 3D SR of template TID 1500 with a measurement group (TID 1410) a disc: a point
in the slice nearest to its center, the disc as finding site in SNOMED CT's words, each grade as a coded value
with its calibrated probability. Where no public code is known the scheme is ``99SIAMED`` [D-0069]. A map is a
Parametric Map that holds the source's slices in which the map is not zero, on the source's own grid.

Both are partial and unverified, and both name the patient as their source does: they are made to be stored
beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from siamed import __version__
from siamed.pipeline.errors import CaseError
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.results import DiscResult, SpineResult
from siamed.pipeline.scans.dicom_elements import silence
from siamed.pipeline.scans.scan import Scan, check_is_dicom
from siamed.pipeline.tasks import task_title, value_title

__all__ = ["MANUFACTURER", "MODEL", "headers_of", "placement", "save", "write_map", "write_report"]

SCHEME = "99SIAMED"
MANUFACTURER, MODEL = "siamed", "siamed, research use only"
_REPORT_SERIES, _FIRST_MAP_SERIES = 9001, 9101
_STEPS = 65535  # a map is stored in 16 bits
_DISCS = {
    f"{upper}-{lower}": getattr(codes.SCT, f"{upper}{lower}Disc")
    for upper, lower in (
        *((f"T{n}", f"T{n + 1}") for n in range(7, 12)),
        ("T12", "L1"),
        *((f"L{n}", f"L{n + 1}") for n in range(1, 5)),
        ("L5", "S1"),
    )
}


def write_report(scan: Scan, result: SpineResult, path: Path) -> Path:
    """Write the grades of a scan's discs as a structured report.

    Args:
        scan: read from DICOM.
        result: its result.
        path: the file, whole or not at all.

    Raises:
        CaseError: code ``not-dicom`` or ``dicom-not-written``.
        ValueError: if no disc was graded.
    """
    graded = [(n, disc) for n, disc in enumerate(result.discs, 1) if disc.grades]
    if not graded:
        raise ValueError(f"result must have a graded disc, got {len(result.discs)} discs without a grade")
    with headers_of(scan) as sources:
        algorithm = sr.AlgorithmIdentification(
            name="siamed",
            version=__version__,
            parameters=[f"{b.name} {b.version}, weights {b.sha256}" for b in result.bundles],
        )
        device = sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                uid=hd.UID(), name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
            ),
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=device),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=[_group(scan, sources, n, disc, algorithm) for n, disc in graded],
            title=codes.DCM.ImagingMeasurementReport,
        )
        report = sr.Comprehensive3DSR(
            evidence=list(sources.values()),
            content=content[0],
            series_instance_uid=hd.UID(),
            series_number=_REPORT_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=False,
            is_final=False,
            is_verified=False,
        )
        report.SoftwareVersions = __version__
        return save(report, "siamed disc grades, research use only", path)


def write_map(scan: Scan, values: np.ndarray, task: str, number: int, path: Path) -> Path:
    """Write a map of a scan as a Parametric Map.

    Args:
        scan: read from DICOM.
        values: ``(I, J, K)`` on the scan's own voxels, 0 or more.
        task: whose evidence it shows.
        number: of the map among the scan's, from 0; it gets a series of its own.
        path: the file, whole or not at all.

    Raises:
        CaseError: code ``not-dicom`` or ``dicom-not-written``.
        ValueError: if the values have another shape, are negative or not finite, or zero throughout.
    """
    if values.shape != tuple(scan.image.shape[1:]):
        raise ValueError(
            f"values must have the scan's shape {tuple(scan.image.shape[1:])}, got {values.shape}"
        )
    largest = float(values.max())
    if not np.isfinite(values).all() or values.min() < 0 or largest == 0:
        raise ValueError(
            f"values must be finite, 0 or more and not 0 throughout, got {values.min()} to {largest}"
        )
    shown = np.flatnonzero(values.any((0, 1)))
    stored = np.rint(values[:, :, shown].transpose(2, 1, 0) * (_STEPS / largest)).astype(np.uint16)
    with headers_of(scan) as sources:
        frames = [scan.frames[k] for k in shown]
        first = next(iter(sources.values()))
        title = f"Evidence for {task_title(task)}"
        found = hd.pm.ParametricMap(
            source_images=[sources[p] for p in dict.fromkeys(frame.path for frame in frames)],
            pixel_array=stored,
            series_instance_uid=hd.UID(),
            series_number=_FIRST_MAP_SERIES + number,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            software_versions=__version__,
            device_serial_number="0",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                hd.pm.RealWorldValueMapping(
                    lut_label=task[:16],
                    lut_explanation=f"{title}: |d score / d intensity|",
                    unit=codes.UCUM.NoUnits,
                    value_range=(0, _STEPS),
                    slope=largest / _STEPS,
                    intercept=0.0,
                    quantity_definition=Code("evidence", SCHEME, "Magnitude of d score / d intensity"),
                )
            ],
            voi_lut_transformations=[
                hd.VOILUTTransformation(window_center=_STEPS / 2, window_width=float(_STEPS))
            ],
            **placement(scan, first, shown),
            content_label="HOTSPOTS",
            content_description=title,
        )
        found.BodyPartExamined = "LSPINE"
        return save(found, f"siamed {task_title(task)} hotspots, research use only", path)


def _group(
    scan: Scan,
    sources: dict[Path, Dataset],
    number: int,
    disc: DiscResult,
    algorithm: sr.AlgorithmIdentification,
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    column, row, across = disc.center_voxel
    frame = scan.frames[min(max(round(across), 0), len(scan.frames) - 1)]
    image = sources[frame.path]
    frames = [frame.index + 1] if "NumberOfFrames" in image else None
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POINT,
        graphic_data=np.array([[column + 0.5, row + 0.5]]),  # from the corner of the first pixel
        source_image=sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, frames),
    )
    site = _DISCS.get(disc.level or "") or Code("disc", SCHEME, "Intervertebral disc")
    name = disc.level or f"disc {number}"
    grades = disc.grades.items()
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier=name, uid=hd.UID()),
        referenced_region=region,
        finding_type=Code("disc-grading", SCHEME, "Disc grading"),
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(anatomic_location=site)],
        measurements=[
            sr.Measurement(
                name=Code(f"{task}-probability", SCHEME, f"Probability of stated value: {task_title(task)}"),
                value=given.confidence,
                unit=codes.UCUM.NoUnits,
            )
            for task, given in grades
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                name=Code(task, SCHEME, task_title(task)),
                value=_value(task, given.grade, len(given.probabilities)),
            )
            for task, given in grades
        ],
    )


def _value(task: str, grade: int, classes: int) -> Code:
    if classes == 2:
        return codes.SCT.Present if grade else codes.SCT.Absent
    return Code(f"{task}-{grade}", SCHEME, f"{task_title(task)} {value_title(task, grade, classes)}")


@contextlib.contextmanager
def headers_of(scan: Scan) -> Iterator[dict[Path, Dataset]]:
    """Headers of the scan's files, in the order of its slices; what cannot be made of them is a case's end.

    Neither remarks nor errors of the libraries get out: both may quote the patient's name.
    """
    check_is_dicom(scan)
    paths = dict.fromkeys(frame.path for frame in scan.frames)
    try:
        with silence():
            yield {path: pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in paths}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(
            "dicom-not-written",
            f"the headers of the series lack what a DICOM result needs ({type(error).__name__})",
            path=scan.source,
            hint="Run without --dicom, or export the series again with its whole header.",
        ) from error


def placement(scan: Scan, first: Dataset, shown: np.ndarray) -> dict[str, Any]:
    """Where slices of a scan lie, as arguments of highdicom's multi-frame objects.

    Args:
        scan: read from DICOM.
        first: header of one of its files.
        shown: indices of the slices along K.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(scan.image.affine, float)
    columns = (lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T.ravel()
    across, down, step = scan.spacing_mm
    return {
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=(down, across),
            slice_thickness=float(first.get("SliceThickness") or step),
            spacing_between_slices=step,
        ),
        "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [float(v) for v in columns]),
        "plane_positions": [
            hd.PlanePositionSequence("PATIENT", [float(v) for v in lps[:3, 3] + int(k) * lps[:3, 2]])
            for k in shown
        ],
    }


def save(dataset: Dataset, description: str, path: Path) -> Path:
    """Write an object, whole or not at all, in a series of this description."""
    dataset.SeriesDescription = description
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, "siamed, private"
    dataset.CodingSchemeIdentificationSequence = [scheme]
    return replace_file(path, partial(dataset.save_as, enforce_file_format=True))

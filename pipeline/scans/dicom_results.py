"""Write what was found as DICOM objects that belong to the scan's study: a structured report and maps.

The report is a Comprehensive 3D SR of template TID 1500 with a measurement group (TID 1410) a disc: a point
in the slice nearest to its center, the disc as finding site in SNOMED CT's words, each grade as a coded value
with its calibrated probability. Where no public code is known the scheme is ``99SIAMED`` [D-0069]. A map is a
Parametric Map that holds the source's slices in which the map is not zero, on the source's own grid.

Both are partial and unverified, and both name the patient as their source does: they are made to be stored
beside it.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from siamed import __version__
from siamed.pipeline.results import DiscResult, SpineResult
from siamed.pipeline.scans.dicom_objects import (
    MANUFACTURER,
    MODEL,
    SCHEME,
    headers_of,
    identity,
    multi_frame,
    save,
)
from siamed.pipeline.scans.scan import Scan
from siamed.pipeline.tasks import task_title, value_title

__all__ = ["write_map", "write_report"]

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
            **identity(_REPORT_SERIES),
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
        title = f"Evidence for {task_title(task)}"
        found = hd.pm.ParametricMap(
            pixel_array=stored,
            **identity(_FIRST_MAP_SERIES + number),
            **multi_frame(scan, sources, shown),
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

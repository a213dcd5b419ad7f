"""Phantoms on disk: a DICOM study as a scanner sends it, and a small labelled subset in SPIDER's format."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path

import numpy as np

from .lumbar import LumbarPhantom, lumbar_phantom

__all__ = ["write_spider_subset", "write_study"]

_ECHO_MS = {"T2": 105.0, "T1": 11.0}
_REPETITION_MS = {"T2": 3600.0, "T1": 620.0}
_AXIAL_SLICES, _AXIAL_STEP_MM, _AXIAL_PIXEL_MM = 7, 4.4, 2.0
_SCAN_COLUMNS = (
    "scan_id", "patient_id", "sequence", "file", "spacing_known", "pixel_spacing_mm", "slice_thickness_mm",
    "spacing_between_slices_mm", "num_vertebrae", "num_discs", "sex", "field_strength_t", "manufacturer",
    "model",    "echo_time_ms", "repetition_time_ms",
)  # fmt: skip
_GRADING_COLUMNS = (
    "Patient", "IVD label", "Modic", "UP endplate", "LOW endplate", "Spondylolisthesis", "Disc herniation",
    "Disc narrowing", "Disc bulging", "Pfirrman grade",
)  # fmt: skip


def write_study(folder: str | Path, phantom: LumbarPhantom | int = 0) -> Path:
    """Write a phantom as a DICOM study: sagittal T2, sagittal T1 and a short axial T2 stack through L4-L5.

    Args:
        folder: created where absent; one folder a series inside.
        phantom: a phantom, or the seed of one with the default sampling.

    Returns:
        The folder.

    Randomness: pixels from the phantom's seed; instance identifiers are new in every call.
    """
    from siamed.pipeline.scans.write_dicom import write_series

    folder = Path(folder)
    given = lumbar_phantom(phantom) if isinstance(phantom, int) else phantom
    other = lumbar_phantom(**given.parameters, contrast="T1" if given.contrast == "T2" else "T2")
    by_contrast = {p.contrast: p for p in (given, other)}
    seed = given.parameters["seed"]
    frame, study = (
        f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'siamed phantom {seed} {what}').int}" for what in "fs"
    )
    stacks = [
        ("T2", "sag_t2", "T2 TSE SAG", by_contrast["T2"].image, by_contrast["T2"].affine, (2, 1, 0)),
        ("T1", "sag_t1", "T1 TSE SAG", by_contrast["T1"].image, by_contrast["T1"].affine, (2, 1, 0)),
        ("T2", "ax_t2", "T2 TSE TRA", *_axial(by_contrast["T2"]), (0, 2, 1)),
    ]
    for number, (contrast, name, description, image, affine, order) in enumerate(stacks, start=1):
        # DICOM counts (column, row, slice): a sagittal slice has columns to the back, an axial one left.
        write_series(
            image.transpose(order),
            affine[:, [*order, 3]],
            folder / name,
            patient_id=f"PHANTOM-{seed}",
            patient_name="PHANTOM^LUMBAR",
            study_description="LUMBAR SPINE PHANTOM",
            series_description=description,
            echo_time_ms=_ECHO_MS[contrast],
            repetition_time_ms=_REPETITION_MS[contrast],
            series_number=number,
            study_uid=study,
            frame_of_reference_uid=frame,
        )
    return folder


def _axial(phantom: LumbarPhantom) -> tuple[np.ndarray, np.ndarray]:
    """Axial slices around L4-L5, still in index order LIP: every n-th row of a finely sliced phantom."""
    keywords = dict(phantom.parameters)
    extent = np.array(keywords["size"]) * keywords["spacing_mm"]
    size = tuple(int(n) for n in np.round(extent / _AXIAL_PIXEL_MM))
    pixel = extent / size
    keywords.update(size=size, spacing_mm=tuple(float(p) for p in pixel), slices=65, slice_mm=_AXIAL_PIXEL_MM)
    fine = lumbar_phantom(**keywords, contrast=phantom.contrast)
    names = list(phantom.corners_mm)
    below = phantom.corners_mm[names[[n.startswith("S") for n in names].index(True) - 1]]
    middle = (fine.affine[2, 3] - below[:2, 2].mean()) / pixel[0]
    step = round(_AXIAL_STEP_MM / pixel[0])
    first = int(np.clip(round(middle) - step * (_AXIAL_SLICES // 2), 0, size[0] - step * _AXIAL_SLICES))
    affine = fine.affine.copy()
    affine[:3, 3] += first * affine[:3, 1]
    affine[:3, 1] *= step
    return fine.image[:, first : first + step * _AXIAL_SLICES : step], affine


def write_spider_subset(folder: str | Path, subjects: int = 2) -> Path:
    """Write phantoms in the folders and tables of the SPIDER working copy, for a training of two steps.

    Each subject gets a labelled ``space_half`` volume (9 slices of 128 x 128 at 2.2 mm), middle slices in T1
    and T2, and a row a disc in the gradings, counted from the lowest disc up. Findings that a phantom does
    not have are 0.

    Args:
        folder: created where absent.
        subjects: how many; numbered from 1, the seed of the phantom being the number.

    Returns:
        The folder.

    Raises:
        ValueError: if subjects is not positive.
    """
    if subjects < 1:
        raise ValueError(f"subjects must be at least 1, got {subjects}")
    folder = Path(folder)
    for name in ("space_half", "midslice"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    scans: list[dict[str, object]] = []
    gradings: list[dict[str, object]] = []
    for subject in range(1, subjects + 1):
        for contrast in ("T1", "T2"):
            phantom = lumbar_phantom(
                subject, contrast, slices=9, size=(128, 128), spacing_mm=(2.2, 2.2), slice_mm=3.0
            )
            image = np.clip(phantom.image * (255 / np.percentile(phantom.image, 99)), 0, 255)
            middle = phantom.affine @ _shifted(phantom.image.shape[0] // 2)
            part = image[phantom.image.shape[0] // 2][None]
            scan_id = f"{subject:03d}_{contrast}"
            _save(folder / "midslice" / f"{scan_id}.nii.gz", part, middle)
            scans.append(_scan_row(scan_id, subject, contrast, phantom))
            if contrast == "T2":
                # SPIDER's labelled volumes are T2 SPACE: the same look for this purpose.
                stem = folder / "space_half" / f"{subject:03d}_T2_SPACE"
                _save(Path(f"{stem}_image.nii.gz"), image, phantom.affine)
                _save(Path(f"{stem}_label.nii.gz"), phantom.label, phantom.affine)
        for number, grade in enumerate(reversed(phantom.grades.values()), start=1):
            row: dict[str, object] = dict.fromkeys(_GRADING_COLUMNS, 0)
            row.update(
                {
                    "Patient": subject,
                    "IVD label": number,
                    "Pfirrman grade": grade,
                    "Disc narrowing": int(grade >= 4),
                }
            )
            gradings.append(row)
    _table(folder / "scans.csv", _SCAN_COLUMNS, scans)
    _table(folder / "radiological_gradings.csv", _GRADING_COLUMNS, gradings)
    return folder


def _shifted(first_slice: int) -> np.ndarray:
    shift = np.eye(4)
    shift[0, 3] = first_slice
    return shift


def _save(path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
    """Store a LIP volume as the working copy does: uint8, RAS+ index order."""
    import nibabel as nib

    turned = np.ascontiguousarray(volume.transpose(0, 2, 1)[::-1, ::-1, ::-1]).astype(np.uint8)
    back = np.eye(4)[[0, 2, 1, 3]]  # new index -> old index, then from the other end
    back[:3, :3] *= -1
    back[:3, 3] = np.array(volume.shape) - 1
    image = nib.Nifti1Image(turned, affine @ back)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _scan_row(scan_id: str, subject: int, contrast: str, phantom: LumbarPhantom) -> dict[str, object]:
    slice_mm = phantom.parameters["slice_mm"]
    return {
        "scan_id": scan_id, "patient_id": subject, "sequence": contrast, "file": f"midslice/{scan_id}.nii.gz",
        "spacing_known": 1, "pixel_spacing_mm": phantom.parameters["spacing_mm"][0],
        "slice_thickness_mm": slice_mm,
        "spacing_between_slices_mm": slice_mm, "num_vertebrae": len(phantom.grades),
        "num_discs": len(phantom.grades),
        "sex": "", "field_strength_t": "", "manufacturer": "siamed phantom", "model": "phantom",
        "echo_time_ms": _ECHO_MS[contrast], "repetition_time_ms": _REPETITION_MS[contrast],
    }  # fmt: skip


def _table(path: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)

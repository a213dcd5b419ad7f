"""SPIDER, as published and as the small working copy, read into one manifest [vandergraaf2024spider].

The release: ``images/N_t1.mha``, ``N_t2.mha``, ``N_t2_SPACE.mha``; ``masks/`` with files of the same names,
in which 1, 2, ... are vertebrae from the lowest up, 100 is the canal, 101, ... are vertebrae partly in view
and 201, ... discs; ``radiological_gradings.csv``; ``overview.csv``, of which nothing is needed. The working
copy: ``space_half/``, ``space_native/`` (volumes with merged labels 1, 2, 3), ``midslice/``, ``scans.csv``,
``radiological_gradings.csv``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .manifest import Manifest, ScanRow

__all__ = ["GRADING_COLUMNS", "merge_labels", "middle_slice_copies", "read_gradings", "spider_manifest"]

GRADING_COLUMNS = {
    "pfirrmann": "Pfirrman grade",
    "narrowing": "Disc narrowing",
    "upper_endplate": "UP endplate",
    "lower_endplate": "LOW endplate",
    "modic": "Modic",
    "spondylolisthesis": "Spondylolisthesis",
    "herniation": "Disc herniation",
    "bulging": "Disc bulging",
}
"""Task -> column of ``radiological_gradings.csv``; the data set's own spelling."""

_SEQUENCES = {"t1": "T1", "t2": "T2", "t2_space": "T2_SPACE"}
_VERTEBRA, _DISC, _CANAL = 1, 2, 3
_VOLUMES_OF_THE_COPY = ("space_half", "space_native")  # of scans that have their middle slices beside them


def merge_labels(label: np.ndarray) -> np.ndarray:
    """The release's instance labels as tissues: 1 vertebra (partly visible ones too), 2 disc, 3 canal.

    Args:
        label: integer label map of the release; merged maps pass unchanged if they hold no id above 3.

    Raises:
        ValueError: if an id is none that the release uses.
    """
    ids = np.unique(label)
    if ids.max(initial=0) <= _CANAL and not (ids == 100).any():
        # One or two vertebrae alone would look the same; a release map always has the canal, 100.
        return label.astype(np.uint8)
    known = (
        (ids == 0)
        | ((ids >= 1) & (ids < 100))
        | (ids == 100)
        | ((ids > 100) & (ids < 200))
        | ((ids > 200) & (ids < 300))
    )
    if not known.all():
        raise ValueError(
            f"label must hold SPIDER's ids 0, 1-99, 100, 101-199, 201-299, got {ids[~known].tolist()}"
        )
    merged = np.zeros(label.shape, np.uint8)
    merged[((label >= 1) & (label < 100)) | ((label > 100) & (label < 200))] = _VERTEBRA
    merged[(label > 200) & (label < 300)] = _DISC
    merged[label == 100] = _CANAL
    return merged


def read_gradings(path: str | Path) -> dict[tuple[str, int], dict[str, int]]:
    """``radiological_gradings.csv`` as (subject, disc from the lowest) -> task -> grade, without empty cells.

    Raises:
        ValueError: if the table lacks a column.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    needed = {"Patient", "IVD label", *GRADING_COLUMNS.values()}
    if rows and needed - set(rows[0]):
        lacking = sorted(needed - set(rows[0]))
        raise ValueError(f"radiological_gradings.csv must have the columns {sorted(needed)}, lacks {lacking}")
    gradings: dict[tuple[str, int], dict[str, int]] = {}
    for row in rows:
        grades = {
            task: int(float(row[column])) for task, column in GRADING_COLUMNS.items() if row[column].strip()
        }
        gradings[(row["Patient"].strip(), int(float(row["IVD label"])))] = grades
    return gradings


def spider_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder, whichever of the two layouts it has.

    Raises:
        ValueError: if it has neither, saying what was looked for.
    """
    root = Path(folder)
    if not (root / "radiological_gradings.csv").is_file():
        raise ValueError(f"dataset_dir must hold radiological_gradings.csv, {root.name!r} does not")
    if (root / "images").is_dir():
        scans = tuple(_release_scans(root))
    elif (root / "midslice").is_dir() or (root / "space_half").is_dir():
        scans = tuple(_copy_scans(root))
    else:
        raise ValueError(
            "dataset_dir must hold images/ (the release) or midslice/ and space_half/, "
            f"{root.name!r} holds neither"
        )
    if not scans:
        raise ValueError(f"dataset_dir must hold scans, none was found in {root.name!r}")
    return Manifest(root, scans, read_gradings(root / "radiological_gradings.csv"))


def _release_scans(root: Path) -> Iterable[ScanRow]:
    for path in sorted((root / "images").glob("*.mha"), key=lambda p: (int(p.name.split("_")[0]), p.name)):
        match = re.fullmatch(r"(\d+)_(t1|t2|t2_SPACE)\.mha", path.name)
        if match is None:
            raise ValueError(f"images must be named N_t1.mha, N_t2.mha or N_t2_SPACE.mha, got {path.name!r}")
        label = root / "masks" / path.name
        yield ScanRow(
            case_id=path.stem,
            subject_id=match[1],
            sequence=_SEQUENCES[match[2].lower()],
            image=f"images/{path.name}",
            label=f"masks/{path.name}" if label.is_file() else "",
        )


def _copy_scans(root: Path) -> Iterable[ScanRow]:
    for name in ("space_half", "space_native"):
        for path in sorted((root / name).glob("*_image.nii.gz")):
            label = path.with_name(path.name.replace("_image", "_label"))
            yield ScanRow(
                case_id=f"{name}/{path.name[:3]}",
                subject_id=str(int(path.name[:3])),
                sequence="T2_SPACE",
                image=f"{name}/{path.name}",
                label=f"{name}/{label.name}" if label.is_file() else "",
            )
    if (root / "scans.csv").is_file():
        with (root / "scans.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                discs = str(int(float(row["num_discs"]))) if row["num_discs"] else ""
                yield ScanRow(
                    f"midslice/{row['scan_id']}", row["patient_id"], row["sequence"], row["file"], "", discs
                )


def middle_slice_copies(manifest: Manifest) -> list[ScanRow]:
    """Each scan once: of the working copy the middle slices, without the volumes of the same scans."""
    return [scan for scan in manifest.scans if scan.image.split("/")[0] not in _VOLUMES_OF_THE_COPY]

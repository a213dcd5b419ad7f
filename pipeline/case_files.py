"""The files of one case: result, tables, report, volumes, hotspots and DICOM objects.

Each is written beside its place and renamed, ``result.json`` last; what an earlier run left and this one does
not write is removed, and nothing else is [D-0046].
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamed.pipeline.report.page import render_report, unsure_tasks
from siamed.pipeline.results import SpineResult

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from siamed.pipeline.cuts import Volumes
    from siamed.pipeline.spine import SpineReading

__all__ = [
    "SpineFiles",
    "changes_table",
    "grades_table",
    "name_volumes",
    "save_nifti",
    "table",
    "write_text",
]

_OWN_FILES = ("result.json", "grades.csv", "changes.csv", "report.html", "volumes.csv", "embeddings.npz")
_VOLUME_COLUMNS = ("scan_id", "subject_id", "level", "kind", "path", "sha256")
_KINDS = ("vb", "ivd")
_OURS = {"dicom": ("grades.dcm", "hotspots_*.dcm")}  # scans may lie in a folder of that name


def grades_table(result: SpineResult) -> str:
    """Return ``grades.csv``: one row a disc; for each task its grade, probability, expected value and
    likely grades.

    ``disc`` counts from 1, superior first; ``level`` is empty where it is not known; ``refer`` names the
    tasks whose probability is low [D-0048].
    """
    columns = ["scan_id", "subject_id", "sequence", "disc", "level"]
    for task in result.tasks:
        columns += [task, f"{task}_probability", f"{task}_expected", f"{task}_likely"]
    rows = []
    for number, disc in enumerate(result.discs, 1):
        row: dict[str, Any] = {
            "scan_id": result.scan.scan_id,
            "subject_id": result.scan.subject_id,
            "sequence": result.scan.sequence,
            "disc": number,
            "level": disc.level or "",
            "refer": " ".join(unsure_tasks(disc)),
        }
        for task, grade in disc.grades.items():
            row |= {
                task: grade.grade,
                f"{task}_probability": f"{grade.confidence:.4f}",
                f"{task}_expected": f"{grade.expected:.4f}",
                f"{task}_likely": " ".join(str(likely) for likely in grade.likely),
            }
        rows.append(row)
    return table([*columns, "refer"], rows)


def changes_table(reading: SpineReading) -> str:
    """Return ``changes.csv``: one row an earlier scan, disc and task.

    ``difference`` is that of the expected grades, now less then; ``limit`` what 95 % of repeated gradings
    stay below, empty where the bundle does not say.
    """
    columns = ["earlier_scan_id", "scan_id", "level", "task", "earlier", "later"]
    columns += ["difference", "limit", "beyond_noise"]
    rows = [
        {
            "earlier_scan_id": one.scan_id,
            "scan_id": reading.result.scan.scan_id,
            "level": change.level,
            "task": change.task,
            "earlier": change.earlier,
            "later": change.later,
            "difference": f"{change.difference:+.4f}",
            "limit": "" if change.limit is None else f"{change.limit:.4f}",
            "beyond_noise": "yes" if change.beyond_noise else "no",
        }
        for one in reading.changes
        for change in one.changes
    ]
    return table(columns, rows)


def table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """Return CSV with a header; a missing value is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def name_volumes(result: SpineResult, volumes: Volumes) -> list[str]:
    """Return a name for each volume: its level, or its number from the top where the level is not known."""
    items = result.vertebrae if volumes.kind == "vb" else result.discs
    return [items[i].level or f"unnamed-{i + 1:02d}" for i in volumes.indices]


@dataclass(frozen=True)
class SpineFiles:
    """The files of a :class:`~siamed.pipeline.spine.SpineReading`.

    Args:
        dicom: write grades and hotspots as DICOM too.
    """

    dicom: bool = False
    index: str = "spine_index.html.j2"

    def write(self, folder: Path, reading: SpineReading) -> None:
        """Write what a reading holds; see :func:`_write_case`."""
        _write_case(folder, reading, self.dicom)

    def remove(self, folder: Path, empty: bool) -> None:
        """Remove the files of an earlier run that a case would have replaced, and nothing else."""
        if not folder.is_dir():
            return
        for name in _OWN_FILES:
            (folder / name).unlink(missing_ok=True)
        _remove_volumes(folder)
        _remove_files(folder, ("hotspots", "dicom"))
        if empty and not any(folder.iterdir()):
            folder.rmdir()


def _write_case(folder: Path, reading: SpineReading, dicom: bool) -> None:
    """Write what a reading holds.

    Args:
        folder: of the case, made where absent.
        reading: of the scan.
        dicom: write grades and hotspots as DICOM too.

    Raises:
        CaseError: if DICOM is wanted and the scan's headers do not serve.
        ValueError: if the result contradicts itself; nothing is written then.
    """
    result = reading.result
    text = result.to_json() + "\n"  # checks the result before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    files = {"report.html": render_report(reading)}
    if result.tasks:
        files["grades.csv"] = grades_table(result)
    if reading.changes:
        files["changes.csv"] = changes_table(reading)
    rows = list(_write_volumes(folder, reading))
    if rows:
        files["volumes.csv"] = table(_VOLUME_COLUMNS, rows)
    for name, content in files.items():
        write_text(folder / name, content)
    written = {*files, "result.json"}
    if reading.embeddings is not None:
        written.add(reading.embeddings.save(folder / "embeddings.npz").name)
    for name in set(_OWN_FILES) - written:
        (folder / name).unlink(missing_ok=True)
    if not rows:
        _remove_volumes(folder)
    _remove_files(folder, ("hotspots", "dicom"))
    if dicom:
        from siamed.pipeline.scans.dicom_results import write_report

        write_report(reading.scan, result, folder / "dicom" / "grades.dcm")
    _write_hotspots(folder, reading, dicom)
    write_text(folder / "result.json", text)


def _write_volumes(folder: Path, reading: SpineReading) -> Iterator[dict[str, str]]:
    """Write what was extracted as NIfTI, if bodies were asked for; yield the rows of the manifest."""
    if not reading.extracted:  # the discs of a grading are not asked for as files
        return
    import nibabel
    import numpy as np

    from siamed.pipeline.experiments.files import replace_file, sha256_of

    _remove_volumes(folder)
    for volumes in (reading.bodies, reading.discs):
        for name, volume in zip(name_volumes(reading.result, volumes), volumes.images, strict=True):
            image = nibabel.Nifti1Image(
                np.asarray(volume.as_tensor()[0], np.float32), np.asarray(volume.affine, float)
            )
            image.header.set_xyzt_units("mm")
            path = Path("volumes", volumes.kind, f"{name}.nii.gz")
            # The temporary name must end as NIfTI's does.
            replace_file(folder / path, partial(save_nifti, image))
            yield {
                "scan_id": reading.result.scan.scan_id,
                "subject_id": reading.result.scan.subject_id,
                "level": "" if name.startswith("unnamed") else name,
                "kind": volumes.kind,
                "path": path.as_posix(),
                "sha256": sha256_of(folder / path),
            }


def _write_hotspots(folder: Path, reading: SpineReading, dicom: bool) -> None:
    """Write each task's hotspots on the scan's own grid, as NIfTI and, if wanted, as DICOM."""
    if reading.hotspots is None:
        return
    import nibabel
    import numpy as np

    from siamed.pipeline.experiments.files import replace_file
    from siamed.pipeline.scans import in_scan_order

    for place, task in enumerate(reading.hotspots.tasks):
        whole = _hotspot_volume(reading, place)
        image = nibabel.Nifti1Image(whole[0].numpy(), np.asarray(reading.view.affine, float))
        image.header.set_xyzt_units("mm")
        replace_file(folder / "hotspots" / f"{task}.nii.gz", partial(save_nifti, image))
        if dicom and whole.any():
            from siamed.pipeline.scans.dicom_results import write_map

            values = in_scan_order(whole, reading.scan)[0].numpy()
            write_map(reading.scan, values, task, place, folder / "dicom" / f"hotspots_{task}.dcm")


def _hotspot_volume(reading: SpineReading, place: int) -> MetaTensor:
    """Hotspots of one task on the view's grid ``(1, D, H, W)``, the largest where discs' volumes overlap."""
    import torch
    from monai.data import MetaTensor

    from siamed.transforms.extract_volume import map_to_scan

    whole = torch.zeros(1, *reading.view.shape[1:])
    if reading.hotspots is not None:
        for maps, disc in zip(reading.hotspots.maps, reading.discs.images, strict=True):
            torch.maximum(whole, map_to_scan(maps[place : place + 1], disc).as_tensor(), out=whole)
    return MetaTensor(whole, affine=reading.view.affine)


def save_nifti(image: Any, path: Path) -> None:
    """Write a packed NIfTI file; the same volume gives the same bytes."""
    import gzip

    # No time and no name in the gzip header: the same volume gives the same bytes.
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 1, file, 0) as packed:
        packed.write(image.to_bytes())


def _remove_volumes(folder: Path) -> None:
    _remove_files(folder, [*(f"volumes/{kind}" for kind in _KINDS), "volumes"])


def _remove_files(folder: Path, places: Iterable[str]) -> None:
    """Remove files of ours from some folders below a case's, and those of them that are then empty."""
    for place in (folder / name for name in places):
        for pattern in _OURS.get(place.name, ("*.nii.gz",)):
            for path in place.glob(pattern) if place.is_dir() else ():
                path.unlink()
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from siamed.pipeline.experiments.files import replace_file

    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8", newline=""))

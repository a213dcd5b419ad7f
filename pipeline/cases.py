"""A batch of scans on disk: each case whole or not at all, and one table that says how each one ended.

For one case its files lie in the output folder itself, for several in a folder each; ``cases.csv`` and, for
several, ``index.html`` lie beside them. Each file is written beside its place and renamed, ``result.json``
last. A case that fails leaves no file of an earlier run behind, so that the folder says what the last run
said [D-0046].

``cases.csv`` is the one file that names paths, which are often named after patients: it is the key between
the user's folders and the ids in all other files.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamed.pipeline.errors import CaseError
from siamed.pipeline.report.index import CaseRow, render_index
from siamed.pipeline.report.page import render_report, unsure_tasks
from siamed.pipeline.results import SpineResult

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from siamed.pipeline.cuts import Volumes
    from siamed.pipeline.scans import Case
    from siamed.pipeline.spine import SpineReading

__all__ = [
    "CaseFailure",
    "Outcome",
    "Output",
    "changes_table",
    "gather_cases",
    "grades_table",
    "name_volumes",
    "run_case",
]

logger = logging.getLogger(__name__)

_OWN_FILES = ("result.json", "grades.csv", "changes.csv", "report.html", "volumes.csv", "embeddings.npz")
_CASE_COLUMNS = ("case_id", "path", "status", "code", "reason", "what_to_do")
_VOLUME_COLUMNS = ("scan_id", "subject_id", "level", "kind", "path", "sha256")
_KINDS = ("vb", "ivd")
_OURS = {"dicom": ("grades.dcm", "hotspots_*.dcm")}  # scans may lie in a folder of that name


@dataclass(frozen=True)
class CaseFailure:
    """Why a case has no result."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True)
class Outcome:
    """How one case ended: with a reading or with a failure, never both."""

    case_id: str
    path: Path
    reading: SpineReading | None = None
    failure: CaseFailure | None = None

    @property
    def result(self) -> SpineResult | None:
        """What was said about the scan, if anything."""
        return None if self.reading is None else self.reading.result


def gather_cases(paths: Iterable[str | Path]) -> tuple[list[Case], list[Outcome]]:
    """Find the cases under some paths.

    A case id that occurs twice gets a number behind it, as it names a folder.

    Args:
        paths: files and folders, see :func:`~siamed.pipeline.scans.find_cases`.

    Returns:
        The cases, and an outcome for each path under which nothing can be looked for.
    """
    from siamed.pipeline.scans import find_cases

    cases: list[Case] = []
    failed: list[Outcome] = []
    seen: set[Path] = set()
    taken: set[str] = set()
    for path in map(Path, paths):
        try:
            found = find_cases(path)
        except CaseError as error:
            failed.append(Outcome(_free(path.name or "path", taken), path, failure=_failure(error)))
            continue
        for case in found:
            # The same file given twice, by itself and by its folder, is one case.
            if not case.files and case.path.resolve() in seen:
                continue
            seen.add(case.path.resolve())
            cases.append(replace(case, case_id=_free(case.case_id, taken)))
    return cases, failed


def run_case(case: Case, work: Callable[[Case], SpineReading]) -> Outcome:
    """Do the work for one case; whatever goes wrong with it becomes its outcome.

    Args:
        case: the case.
        work: reads the scan and makes the reading.
    """
    try:
        return Outcome(case.case_id, case.path, work(case))
    except CaseError as error:
        return Outcome(case.case_id, case.path, failure=_failure(error))
    except Exception as error:  # a fault of ours in one case must not take the other cases with it
        logger.debug("case %s", case.case_id, exc_info=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(". ")
        hint = "This is a fault of siamed, not of the scan: run the case alone with --debug and report it."
        return Outcome(case.case_id, case.path, failure=CaseFailure("internal-error", reason, hint))


class Output:
    """Where the outcomes of one run are written.

    Args:
        folder: made where absent.
        single: one case is run, and its files lie in ``folder`` itself.
        dicom: write grades and hotspots as DICOM too.
    """

    def __init__(self, folder: str | Path, single: bool, dicom: bool = False) -> None:
        self.folder = Path(folder)
        self.single = single
        self.dicom = dicom
        self._rows: list[dict[str, str]] = []
        self._index: list[CaseRow] = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def folder_of(self, case_id: str) -> Path:
        """Where the files of a case lie."""
        return self.folder if self.single else self.folder / case_id

    def add(self, outcome: Outcome) -> Outcome:
        """Write one case and bring the tables up to date.

        Returns:
            The outcome; a failure where the files could not be written.
        """
        folder = self.folder_of(outcome.case_id)
        if outcome.reading is not None:
            reading = outcome.reading

            def write(case: Any) -> SpineReading:
                _write_case(folder, reading, self.dicom)
                return reading

            outcome = run_case(_AsCase(outcome.case_id, outcome.path), write)  # type: ignore[arg-type]
        failure = outcome.failure
        if failure is not None:
            _remove_case(folder, empty=not self.single)
        code, reason, hint = (failure.code, failure.reason, failure.hint) if failure else ("", "", "")
        status = "failed" if failure else "done"
        self._rows.append(
            dict(
                zip(
                    _CASE_COLUMNS,
                    (outcome.case_id, str(outcome.path), status, code, reason, hint),
                    strict=True,
                )
            )
        )
        self._index.append(
            CaseRow(
                outcome.case_id, "" if self.single else outcome.case_id, outcome.result, code, reason, hint
            )
        )
        _write_text(self.folder / "cases.csv", table(_CASE_COLUMNS, self._rows))
        if not self.single:
            _write_text(self.folder / "index.html", render_index(self._index))
        return outcome


@dataclass(frozen=True)
class _AsCase:
    case_id: str
    path: Path


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


def _write_case(folder: Path, reading: SpineReading, dicom: bool) -> None:
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
        _write_text(folder / name, content)
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
    _write_text(folder / "result.json", text)


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
            replace_file(folder / path, partial(_save_nifti, image))
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
        replace_file(folder / "hotspots" / f"{task}.nii.gz", partial(_save_nifti, image))
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


def _save_nifti(image: Any, path: Path) -> None:
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


def _remove_case(folder: Path, empty: bool) -> None:
    """Remove the files of an earlier run that a case would have replaced, and nothing else."""
    if not folder.is_dir():
        return
    for name in _OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    _remove_volumes(folder)
    _remove_files(folder, ("hotspots", "dicom"))
    if empty and not any(folder.iterdir()):
        folder.rmdir()


def _write_text(path: Path, text: str) -> None:
    from siamed.pipeline.experiments.files import replace_file

    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8", newline=""))


def _failure(error: CaseError) -> CaseFailure:
    return CaseFailure(error.code, error.message, error.hint)


def _free(name: str, taken: set[str]) -> str:
    """A folder name that no other case has, on file systems that do not tell cases apart either."""
    plain = re.sub(r"[^\w.+=@ -]", "_", name).strip(". ") or "case"
    candidate, number = plain, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{plain}-{number}"
    taken.add(candidate.casefold())
    return candidate

"""Bring a folder of scans into the form that pretraining reads: NIfTI volumes and a table of subjects.

    python -m siamed.pipeline.datasets.import_scans --source ARCHIVE --out SCANS

``SCANS/<scan id>_image.nii.gz``: every series of every DICOM study and every image file of ARCHIVE, on the
grid it was taken on; ``subjects.csv``, whose ids are keyed hashes like those of the scans
(:mod:`siamed.pipeline.scans.identity`). No file is named after a patient and none names one, but for
``cases.csv``, which tells by path how the last run ended for each scan: it is the key back to ARCHIVE, keep
it where ARCHIVE is kept. What is burned into the pixels stays there.

Passed over, with a row that says why: localizers, volumes of fewer than 8 voxels along an axis
(``few-slices``), and what was met before (``duplicate-scan``). Anything unsound fails in a code of
``docs/decisions/0014`` and the batch goes on. A volume that is there is not written again, so that an import
can be taken up or added to.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from siamed.pipeline.cases import Outcome
from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans import Case, Scan, find_cases, read_scan
from siamed.pipeline.scans.discover import series_cases

from .conversion import convert_cases, is_failure, write_volume
from .subjects import read_subjects, write_subjects

__all__ = ["LEAST_SLICES", "SKIPPED", "ImportedScan", "import_scans", "main"]

log = logging.getLogger(__name__)

LEAST_SLICES = 8
SKIPPED = ("localizer", "few-slices", "duplicate-scan")
"""Codes of cases that are passed over; any other is a failure."""


@dataclass(frozen=True)
class ImportedScan:
    """One volume of the folder.

    Args:
        scan_id: keyed hash of the scan.
        subject_id: keyed hash of the person.
        path: the file.
        written: it was written now; else it was there.
    """

    scan_id: str
    subject_id: str
    path: Path
    written: bool


def import_scans(source: str | Path, out: str | Path, least_slices: int = LEAST_SLICES) -> list[Outcome]:
    """Write every scan below a folder as NIfTI, see the module.

    Args:
        source: folder of DICOM studies, NIfTI, MetaImage or NRRD files, nested as they are.
        out: folder for the volumes and tables, not inside ``source``; what is there stays.
        least_slices: voxels that a volume must have along each axis.

    Returns:
        An outcome a series or file; ``reading`` is an :class:`ImportedScan`.

    Raises:
        ValueError: if ``source`` is no folder, or ``out`` lies in it.
        CaseError: code ``no-id-key`` if ids cannot be made.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise ValueError(f"source must be a folder that exists, got {source.name!r}")
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(
            f"out must not be source or lie in it, got {out.name!r}: its volumes would be imported next time"
        )
    log.info("looking for scans")
    studies = tqdm(find_cases(source), desc="studies", mininterval=1.0, disable=not sys.stderr.isatty())
    cases = [series for study in studies for series in series_cases(study)]
    return convert_cases(cases, _Importer(out, least_slices, read_subjects(out) or {}), out, SKIPPED)


@dataclass
class _Importer:
    out: Path
    least_slices: int
    subjects: dict[str, str]
    met: set[str] = field(default_factory=set)

    def __call__(self, case: Case) -> ImportedScan:
        if self._is_there(case.case_id):  # the case id of a DICOM series is its scan id: no need to read it
            self._meet(case.case_id)
            return self._imported(case.case_id, False)
        scan = read_scan(case)
        self._check(scan)
        self._meet(scan.scan_id)
        if self._is_there(scan.scan_id):
            return self._imported(scan.scan_id, False)
        # The row first: a run that is stopped here leaves a row too many, never a scan of nobody.
        self.subjects[scan.scan_id] = scan.subject_id
        write_subjects(self.out, self.subjects)
        write_volume(
            self._path(scan.scan_id), np.asarray(scan.image.as_tensor()[0]), np.asarray(scan.image.affine)
        )
        return self._imported(scan.scan_id, True)

    def _check(self, scan: Scan) -> None:
        if scan.localizer:
            raise CaseError(
                "localizer",
                "the file calls itself a localizer",
                hint="Nothing is to be done: it is left out.",
            )
        shape = tuple(scan.image.shape[1:])
        if min(shape) < self.least_slices:
            raise CaseError(
                "few-slices",
                f"the volume has {' x '.join(map(str, shape))} voxels, fewer than {self.least_slices} along "
                "an axis",
                hint="Nothing is to be done: it is left out. --least_slices sets the limit.",
            )

    def _meet(self, scan_id: str) -> None:
        if scan_id in self.met:
            raise CaseError(
                "duplicate-scan",
                f"the same series or the same voxels were met before in this run, as {scan_id}",
                hint="Nothing is to be done for a copy; unlike series with one SeriesInstanceUID must be "
                "exported again.",
            )
        self.met.add(scan_id)

    def _is_there(self, scan_id: str) -> bool:
        return scan_id in self.subjects and self._path(scan_id).is_file()

    def _imported(self, scan_id: str, written: bool) -> ImportedScan:
        return ImportedScan(scan_id, self.subjects[scan_id], self._path(scan_id), written)

    def _path(self, scan_id: str) -> Path:
        return self.out / f"{scan_id}_image.nii.gz"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 1 where a scan failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="folder of DICOM studies and image files")
    parser.add_argument("--out", type=Path, required=True, help="folder for volumes, subjects.csv, cases.csv")
    parser.add_argument(
        "--least_slices", type=int, default=LEAST_SLICES, help="voxels a volume must have along each axis"
    )
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        outcomes = import_scans(chosen.source, chosen.out, chosen.least_slices)
    except (ValueError, CaseError) as error:
        parser.error(str(error))
    done = [one.reading for one in outcomes if one.reading is not None]
    failed = sum(is_failure(one, SKIPPED) for one in outcomes)
    log.info(
        "%d scans of %d subjects written, %d were there, %d passed over, %d failed: see cases.csv",
        sum(one.written for one in done),
        len({one.subject_id for one in done}),
        sum(not one.written for one in done),
        len(outcomes) - len(done) - failed,
        failed,
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

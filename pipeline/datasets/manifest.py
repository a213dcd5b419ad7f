"""One manifest for every data set: which scans there are, of whom, and which grades.

A manifest is two tables. ``scans.csv``: a row a scan (case_id, subject_id, sequence, image, label; paths
relative to the data set's folder). ``gradings.csv``: a row a disc (subject_id, disc, one column a task);
discs count from the lowest up, 1 is L5-S1 in a normal spine; an empty cell is a missing label. Grades are
counted as their standard does.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from siamed.pipeline.experiments.files import replace_file

__all__ = ["Manifest", "ScanRow"]


@dataclass(frozen=True)
class ScanRow:
    """One scan.

    Attributes:
        case_id: unique in the manifest.
        subject_id: the person; splits go by it.
        sequence: "T1", "T2", "T2_SPACE".
        image: path below the data set's folder.
        label: path of its label map, empty where there is none.
        discs: number of discs the data set gives, empty where unknown.
        family_id: the family, where twins must stay together; empty: a family of its own.
        order: date or number of the visit, as text that sorts; empty where there is one visit.
    """

    case_id: str
    subject_id: str
    sequence: str
    image: str
    label: str = ""
    discs: str = ""
    family_id: str = field(default="", repr=False)
    order: str = field(default="", repr=False)


@dataclass(frozen=True)
class Manifest:
    """Scans and gradings of a data set.

    Attributes:
        root: folder that the paths start from.
        scans: one row a scan.
        gradings: (subject_id, disc counted from the lowest) -> task -> grade.
    """

    root: Path
    scans: tuple[ScanRow, ...]
    gradings: Mapping[tuple[str, int], Mapping[str, int]]

    def __post_init__(self) -> None:
        names = [row.case_id for row in self.scans]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"scans must have one row a case_id, {twice!r} occurs more than once")

    @property
    def sha256(self) -> str:
        """Hash of the tables' content, for run.json; paths and grades in, the folder's own name out."""
        digest = hashlib.sha256()
        for row in self.scans:
            digest.update(repr(row).encode())
            # A row without them hashes as it did before there were such columns.
            if row.family_id or row.order:
                digest.update(repr((row.family_id, row.order)).encode())
        for key in sorted(self.gradings):
            digest.update(repr((key, sorted(self.gradings[key].items()))).encode())
        return digest.hexdigest()

    def write(self, folder: str | Path) -> None:
        """Write ``scans.csv`` and ``gradings.csv``, whole or not at all."""
        names = [column.name for column in fields(ScanRow)]
        tasks = sorted({task for grades in self.gradings.values() for task in grades})
        scan_rows = [[getattr(row, name) for name in names] for row in self.scans]
        grade_rows = [
            [subject, disc, *(grades.get(task, "") for task in tasks)]
            for (subject, disc), grades in sorted(self.gradings.items())
        ]
        _write_table(Path(folder) / "scans.csv", names, scan_rows)
        _write_table(Path(folder) / "gradings.csv", ["subject_id", "disc", *tasks], grade_rows)

    @classmethod
    def read(cls, folder: str | Path, root: str | Path) -> Manifest:
        """Read what :meth:`write` wrote; ``root`` is where the paths start from."""
        with (Path(folder) / "scans.csv").open(encoding="utf-8", newline="") as file:
            scans = tuple(ScanRow(**row) for row in csv.DictReader(file))
        gradings = {}
        with (Path(folder) / "gradings.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = (row.pop("subject_id"), int(row.pop("disc")))
                gradings[key] = {task: int(grade) for task, grade in row.items() if grade != ""}
        return cls(Path(root), scans, gradings)


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows(rows)

    replace_file(path, write)

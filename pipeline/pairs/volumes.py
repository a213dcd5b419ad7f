"""The table of extracted volumes that pairs are drawn from: ``volumes.csv`` beside the volumes.

A row a volume: ``subject_id`` (the person), ``family_id`` (twins share one; empty: a family of its own),
``scan_id`` (one acquisition), ``order`` (date or number of the visit, as text that sorts; may be empty),
``sequence``, ``level`` ("L3", "L3-L4" of a disc, "right kidney"), ``path`` (below the table's folder) and
``sha256`` of the file. A scan shows a level once.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from siamed.pipeline.experiments.files import replace_file

__all__ = ["BODY_LEVELS", "DISC_LEVELS", "KIDNEYS", "LEVELS", "MIN_COLUMN", "VolumeTable", "level_indices"]

BODY_LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5", "S1")
"""Vertebral bodies that take part in pairs, from superior to inferior [jamaludin2017ssl, Sec. 2.1]."""

DISC_LEVELS = tuple(f"{upper}-{lower}" for upper, lower in pairwise(BODY_LEVELS))
"""The discs between them."""

LEVELS = BODY_LEVELS + DISC_LEVELS
"""A level's place here is its class: networks that see bodies alone have the first seven."""

KIDNEYS = ("right kidney", "left kidney")
"""What stands in the column where volumes are of kidneys."""

MIN_COLUMN = 4
"""Levels that two scans must share to be compared as columns."""

_COLUMNS = ("subject_id", "family_id", "scan_id", "order", "sequence", "level", "path", "sha256")


@dataclass(frozen=True)
class VolumeTable:
    """Volumes by column; every array is ``(N,)`` of text.

    Args:
        root: folder that ``path`` starts from.
        columns: name -> array, for each of the module's columns.
    """

    root: Path
    columns: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        missing = set(_COLUMNS) - set(self.columns)
        if missing:
            raise ValueError(f"volumes.csv must have the columns {list(_COLUMNS)}, lacks {sorted(missing)}")
        unknown = set(self.columns["level"].tolist()) - {*LEVELS, *KIDNEYS}
        if unknown:
            raise ValueError(f"level must be one of {[*LEVELS, *KIDNEYS]}, got {sorted(unknown)}")
        seen: set[tuple[str, str]] = set()
        for key in zip(self.columns["scan_id"].tolist(), self.columns["level"].tolist(), strict=True):
            if key in seen:
                raise ValueError(f"scan_id and level must be unique together, {key} occurs more than once")
            seen.add(key)
        families: dict[str, str] = {}
        for subject, family in zip(self["subject_id"].tolist(), self.families.tolist(), strict=True):
            if families.setdefault(subject, family) != family:
                raise ValueError(
                    f"family_id must be one for a subject, {subject!r} has {families[subject]!r} "
                    f"and {family!r}"
                )

    @classmethod
    def from_rows(cls, root: str | Path, rows: Iterable[Sequence[str]]) -> VolumeTable:
        """A table of rows in the order of the module's columns.

        Raises:
            ValueError: if a row breaks the module's contract.
        """
        # Text of any length, without padding every cell to the longest.
        columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        arrays = [np.array(column, dtype=object) for column in columns]
        return cls(Path(root), dict(zip(_COLUMNS, arrays, strict=True)))

    @classmethod
    def read(cls, path: str | Path) -> VolumeTable:
        """Read ``volumes.csv``.

        Raises:
            ValueError: if it breaks the module's contract.
        """
        with Path(path).open(encoding="utf-8", newline="") as file:
            table = csv.reader(file)
            header = next(table, [])
            missing = set(_COLUMNS) - set(header)
            if missing:
                raise ValueError(
                    f"volumes.csv must have the columns {list(_COLUMNS)}, lacks {sorted(missing)}"
                )
            places = [header.index(name) for name in _COLUMNS]
            return cls.from_rows(Path(path).parent, ([row[place] for place in places] for row in table))

    def write(self) -> Path:
        """Write ``volumes.csv`` in the table's folder, whole or not at all."""

        def write(beside: Path) -> None:
            with beside.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(_COLUMNS)
                table.writerows(zip(*(self.columns[name].tolist() for name in _COLUMNS), strict=True))

        return replace_file(self.root / "volumes.csv", write)

    def __len__(self) -> int:
        return len(self.columns["level"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    @property
    def families(self) -> np.ndarray:
        """Family of each volume; the subject where none is given. Subjects and families share no name."""
        given = self.columns["family_id"]
        single = np.array([f"subject {s}" for s in self.columns["subject_id"]], dtype=object)
        return np.where(given == "", single, given) if len(self) else given

    @property
    def sha256(self) -> str:
        """Hash of the table's content, for the record of a run."""
        digest = hashlib.sha256()
        for name in _COLUMNS:
            digest.update("\n".join(self.columns[name].tolist()).encode() + b"\0")
        return digest.hexdigest()

    def of(self, subjects: Iterable[str], sequences: Iterable[str] | None = None) -> VolumeTable:
        """Volumes of some subjects, in some sequences (None: all), in the order they have here."""
        kept = np.isin(self["subject_id"].astype(str), [str(s) for s in subjects])
        if sequences is not None:
            kept &= np.isin(self["sequence"].astype(str), list(sequences))
        return VolumeTable(self.root, {name: column[kept] for name, column in self.columns.items()})

    def paths(self) -> list[Path]:
        """Files of the volumes."""
        return [self.root / path for path in self["path"].tolist()]


def level_indices(table: VolumeTable) -> np.ndarray:
    """Class of each volume's level, ``(N,)``: its place in :data:`LEVELS`.

    Raises:
        ValueError: if a volume is of no spinal level.
    """
    return np.array([LEVELS.index(name) for name in table["level"].tolist()], np.int64)

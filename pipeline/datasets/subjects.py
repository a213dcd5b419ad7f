"""Who the scans of a folder are of: the table ``subjects.csv`` (``case_id``, ``subject_id``) beside them,
or the names of the files.

Without a table ``anna_t1`` and ``anna_t2`` of one folder are scans of one subject, as are ``anna/t1`` and
``anna/t2``, and in a BIDS data set all of ``sub-01/``, whatever the session: see
:func:`~siamed.pipeline.scans.identity.subject_from_stem`. Files of one name in two folders are of two
subjects.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.scans.identity import subject_from_stem

__all__ = ["read_subjects", "subjects_of", "write_subjects"]

_TABLE = "subjects.csv"
_COLUMNS = ("case_id", "subject_id")


def read_subjects(folder: str | Path) -> dict[str, str] | None:
    """Case -> subject as ``subjects.csv`` says; None where there is no such table.

    Raises:
        ValueError: if the table lacks a column.
    """
    path = Path(folder) / _TABLE
    if not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        if lacking := sorted(set(_COLUMNS) - set(table.fieldnames or ())):
            raise ValueError(f"{_TABLE} must have the columns {list(_COLUMNS)}, it lacks {lacking}")
        return {row["case_id"]: row["subject_id"] for row in table}


def subjects_of(folder: str | Path, cases: Iterable[str]) -> dict[str, str]:
    """Subject of each case, by the table or else by the case's name, see the module.

    Args:
        folder: where ``subjects.csv`` may lie.
        cases: ids of the cases: paths below the folder, without endings, or names.

    Raises:
        ValueError: if the table lacks a case or a column.
    """
    known = read_subjects(folder)
    if known is None:
        return {case: _subject_by_name(case) for case in cases}
    wanted = list(cases)
    lacking = [case for case in wanted if not known.get(case)]
    if lacking:
        raise ValueError(
            f"{_TABLE} must name the subject of every case, it lacks {lacking[0]!r}: add a row for it"
        )
    return {case: known[case] for case in wanted}


def _subject_by_name(case: str) -> str:
    *folders, name = case.split("/")
    person = subject_from_stem(name)
    if person in folders:  # sub-01/ses-1/anat/sub-01_ses-1_T2w
        folders = folders[: folders.index(person)]
    return "/".join([*folders, person] if person else folders) or case


def write_subjects(folder: str | Path, subjects: Mapping[str, str]) -> Path:
    """Write ``subjects.csv``, whole or not at all, a row a case in the order of the mapping."""

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_COLUMNS)
            table.writerows(subjects.items())

    return replace_file(Path(folder) / _TABLE, write)

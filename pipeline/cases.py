"""A batch of scans on disk: each case whole or not at all, and one table that says how each one ended.

For one case its files lie in the output folder itself, for several in a folder each; ``cases.csv`` and, for
several, ``index.html`` lie beside them. Each file is written beside its place and renamed, ``result.json``
last. A case that fails leaves no file of an earlier run behind, so that the folder says what the last run
said [D-0046].

``cases.csv`` is the one file that names paths, which are often named after patients: it is the key between
the user's folders and the ids in all other files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from siamed.pipeline.case_files import table, write_text
from siamed.pipeline.errors import CaseError
from siamed.pipeline.report.index import CaseRow, render_index

if TYPE_CHECKING:
    from siamed.pipeline.scans import Case

__all__ = [
    "CASE_COLUMNS",
    "CaseFailure",
    "CaseFiles",
    "Outcome",
    "Output",
    "case_row",
    "gather_cases",
    "run_case",
]

logger = logging.getLogger(__name__)

CASE_COLUMNS = ("case_id", "path", "status", "code", "reason", "what_to_do")
"""Of ``cases.csv``."""


@dataclass(frozen=True)
class CaseFailure:
    """Why a case has no result."""

    code: str
    reason: str
    hint: str


class CaseFiles(Protocol):
    """How the reading of one scan is written; a kind of reading has its own.

    Attributes:
        index: template of the page over a batch.
    """

    index: str

    def write(self, folder: Path, reading: Any) -> None:
        """Write a reading's files, ``result.json`` last, and remove those of ours that it does not have."""
        ...

    def remove(self, folder: Path, empty: bool) -> None:
        """Remove the files of an earlier run, and nothing else; the folder too if it is then ``empty``."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How one case ended: with a reading or with a failure, never both."""

    case_id: str
    path: Path
    reading: Any = None
    failure: CaseFailure | None = None

    @property
    def result(self) -> Any:
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


def run_case(case: Case, work: Callable[[Case], Any]) -> Outcome:
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


def case_row(outcome: Outcome) -> dict[str, str]:
    """The row of ``cases.csv`` that says how a case ended."""
    failure = outcome.failure
    code, reason, hint = (failure.code, failure.reason, failure.hint) if failure else ("", "", "")
    status = "failed" if failure else "done"
    values = (outcome.case_id, str(outcome.path), status, code, reason, hint)
    return dict(zip(CASE_COLUMNS, values, strict=True))


class Output:
    """Where the outcomes of one run are written.

    Args:
        folder: made where absent.
        single: one case is run, and its files lie in ``folder`` itself.
        files: how a reading is written.
    """

    def __init__(self, folder: str | Path, single: bool, files: CaseFiles) -> None:
        self.folder = Path(folder)
        self.single = single
        self.files = files
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

            def write(case: Any) -> Any:
                self.files.write(folder, reading)
                return reading

            outcome = run_case(_AsCase(outcome.case_id, outcome.path), write)  # type: ignore[arg-type]
        failure = outcome.failure
        if failure is not None:
            self.files.remove(folder, empty=not self.single)
        self._rows.append(case_row(outcome))
        code, reason, hint = (failure.code, failure.reason, failure.hint) if failure else ("", "", "")
        self._index.append(
            CaseRow(
                outcome.case_id, "" if self.single else outcome.case_id, outcome.result, code, reason, hint
            )
        )
        write_text(self.folder / "cases.csv", table(CASE_COLUMNS, self._rows))
        if not self.single:
            write_text(self.folder / "index.html", render_index(self._index, self.files.index))
        return outcome


@dataclass(frozen=True)
class _AsCase:
    case_id: str
    path: Path


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

"""The one exception for bad data: a case that cannot be processed, with its reason and a way out.

A wrong argument is a ``TypeError`` or ``ValueError``; a wrong *file* is a :class:`CaseError`. Batch runs
catch exactly this class, write its code and text as one row of the case table, and go on with the next case.
This module imports nothing heavy: it is loaded by the command line before torch is.
"""

from __future__ import annotations

import re
from pathlib import Path

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class CaseError(Exception):
    """One case that cannot be processed.

    Messages name what is wrong with its values, never the patient: no name, no patient id, no birth date.
    The path is kept as an attribute and stays out of the text, because folders are often named after people.

    Args:
        code: stable slug for tables and tests, for example ``"axial-series"``.
        message: what is wrong, with the values that show it, without a full stop at the end.
        path: file or folder of the case, where known.
        case_id: id of the case in its batch, where known.
        hint: what the user can do about it, one sentence.

    Raises:
        ValueError: if ``code`` is not a lower-case slug, or ``message`` or ``hint`` is empty.

    Example:
        >>> str(CaseError("axial-series", "the slices are axial", hint="Give the sagittal series."))
        'the slices are axial. Give the sagittal series.'
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: str | Path | None = None,
        case_id: str | None = None,
        hint: str,
    ) -> None:
        if not _SLUG.fullmatch(code):
            raise ValueError(f"code must be a slug of lower-case words joined by '-', got {code!r}")
        if not message.strip() or not hint.strip():
            raise ValueError(f"message and hint must not be empty, got {message!r} and {hint!r}")
        self.code = code
        self.message = message.strip().rstrip(".")
        self.hint = hint.strip()
        self.path = Path(path) if path is not None else None
        self.case_id = case_id
        super().__init__(f"{self.message}. {self.hint}")

    def __reduce__(self):
        # Keyword-only arguments do not survive the default pickling, which worker processes rely on.
        return _rebuild, (self.code, self.message, self.path, self.case_id, self.hint)


def _rebuild(code: str, message: str, path: Path | None, case_id: str | None, hint: str) -> CaseError:
    return CaseError(code, message, path=path, case_id=case_id, hint=hint)

"""The page of a batch: one row a case, with a link to its report or the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

__all__ = ["CaseRow", "render_index"]


@dataclass(frozen=True)
class CaseRow:
    """One case of a batch. Paths are left out: folders are often named after patients.

    Args:
        case_id: its id in the batch.
        folder: where its files lie, relative to the page; "" where they lie beside it.
        result: what was said about it; None where it failed.
        code: slug of the failure.
        reason: what was wrong.
        hint: what to do about it.
    """

    case_id: str
    folder: str = ""
    result: Any = None
    code: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def link(self) -> str:
        """Relative address of the case's report."""
        return "/".join([*([quote(self.folder)] if self.folder else []), "report.html"])


def render_index(rows: Sequence[CaseRow], page: str, written: datetime | None = None) -> str:
    """Return the page as HTML.

    Args:
        rows: the cases in their order.
        page: the template: which columns there are depends on what was looked for.
        written: the time that the page names; now where None.
    """
    from siamed.pipeline.report.page import template

    return template(page).render(
        rows=rows,
        done=sum(row.result is not None for row in rows),
        written=(written or datetime.now(timezone.utc)).strftime("%Y-%m-%d %H:%M UTC"),
    )

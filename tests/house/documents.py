"""The house rules on documents: decision records are whole, and no file names a path of one machine."""

from __future__ import annotations

import re
from pathlib import Path

from house.tree import Breach, project_files

DECISION_SECTIONS = ("Question", "Options", "Choice", "What would change our mind")
MACHINE_PATH = re.compile(r"(?<![\w.\-$}*])/(?:work|tmp|root|home|Users|opt/wheels)/[\w.]")


def incomplete_decisions(root: Path) -> list[Breach]:
    """A record has a numbered title and the four sections, in order, none empty; no two share a number."""
    breaches = []
    seen: dict[str, str] = {}
    for path in sorted((root / "docs/decisions").glob("*.md")):
        relative, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        number = path.name[:4]
        if not re.match(r"\d{4}-[a-z0-9-]+\.md$", path.name):
            breaches.append(Breach(relative, 0, "a record is named NNNN-title.md"))
        if number in seen:
            breaches.append(Breach(relative, 0, f"shares its number with {seen[number]}"))
        seen[number] = relative
        parts = re.split(r"^## +(.+?) *$", text, flags=re.M)
        headings = tuple(parts[1::2])
        if headings != DECISION_SECTIONS:
            breaches.append(Breach(relative, 0, f"sections {headings}, not {DECISION_SECTIONS}"))
        breaches += [
            Breach(relative, 0, f"section {heading} is empty")
            for heading, body in zip(headings, parts[2::2], strict=True)
            if not body.strip()
        ]
    return breaches


def machine_paths(root: Path) -> list[Breach]:
    """Paths of one machine mean nothing on another."""
    breaches = []
    for path in project_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := MACHINE_PATH.search(line):
                breaches.append(
                    Breach(path.relative_to(root).as_posix(), number, f"a machine's path: {match[0]}")
                )
    return breaches

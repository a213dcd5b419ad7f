"""The house rules on sources: a hyper-parameter cites one, and a citation names something that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from house.tree import Breach, project_files

TAG = re.compile(r"\[([^\]\[]+)\]")
DECISION_TAG = re.compile(r"D-(\d{4})$")
DATA_TAG = re.compile(r"data ([\w.-]+)$")
PAPER_TAG = re.compile(r"([a-z]+\d{4}[a-z]*), \S.*$")
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$")


@dataclass(frozen=True)
class Sources:
    """What a tag may name: keys of references.bib, numbers of decision records, names of data sets."""

    papers: frozenset[str]
    decisions: frozenset[str]
    data: frozenset[str]

    @classmethod
    def of(cls, root: Path) -> Sources:
        """Read them from docs/."""
        docs = root / "docs"
        return cls(
            _named(docs / "references.bib", r"^@\w+\{([^,\s]+),"),
            frozenset(path.name[:4] for path in (docs / "decisions").glob("[0-9][0-9][0-9][0-9]-*.md")),
            _named(docs / "data.md", r"^## ([\w.-]+)$"),
        )

    def resolve(self, tag: str) -> str:
        """Why a tag names no source, or an empty string."""
        for pattern, known, where in (
            (DECISION_TAG, self.decisions, "docs/decisions/"),
            (DATA_TAG, self.data, "docs/data.md"),
            (PAPER_TAG, self.papers, "docs/references.bib"),
        ):
            match = pattern.match(tag)
            if match:
                return "" if match[1] in known else f"[{tag}] is not in {where}"
        return f"[{tag}] is no citation: [key, where], [D-NNNN] or [data NAME]"


def _named(path: Path, pattern: str) -> frozenset[str]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return frozenset(re.findall(pattern, text, re.MULTILINE))


def uncited_numbers(root: Path) -> list[Breach]:
    """Each number under `hparams:` of a bundle's YAML has one tag in a trailing comment, and it resolves."""
    sources = Sources.of(root)
    breaches = []
    for path in sorted((root / "bundles").glob("*/configs/*.yaml")):
        text, relative = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        lines = text.splitlines()
        for line in sorted(set(_hparam_number_lines(yaml.compose(text, Loader=yaml.SafeLoader)))):
            comment = re.search(r"\s#(.*)$", lines[line])
            tags = TAG.findall(comment[1]) if comment else []
            if len(tags) != 1:
                breaches.append(
                    Breach(relative, line + 1, f"{len(tags)} citation tags, not one: {lines[line].strip()}")
                )
            elif why := sources.resolve(tags[0]):
                breaches.append(Breach(relative, line + 1, why))
    return breaches


def _hparam_number_lines(document: yaml.Node | None) -> Iterator[int]:
    if isinstance(document, yaml.MappingNode):
        for key, value in document.value:
            if key.value == "hparams":
                yield from _number_lines(value)


def _number_lines(node: yaml.Node) -> Iterator[int]:
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _number_lines(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _number_lines(value)
    elif isinstance(node, yaml.ScalarNode) and _is_number(node):
        yield node.start_mark.line


def _is_number(node: yaml.ScalarNode) -> bool:
    # YAML 1.1 reads 1e-4 as a string: a reader sees a number, and so does this rule.
    return node.tag.endswith((":int", ":float")) or bool(NUMBER.match(node.value))


def dangling_citations(root: Path) -> list[Breach]:
    """What looks like a citation, in any source or document, names something that exists."""
    sources = Sources.of(root)
    breaches = []
    for path in project_files(root):
        relative = path.relative_to(root).as_posix()
        if path.suffix not in (".py", ".yaml", ".md") or relative.startswith("tests/house/"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for tag in TAG.findall(line):
                if any(pattern.match(tag) for pattern in (DECISION_TAG, DATA_TAG, PAPER_TAG)) and (
                    why := sources.resolve(tag)
                ):
                    breaches.append(Breach(relative, number, why))
    return breaches

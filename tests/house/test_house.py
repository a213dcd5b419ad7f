"""Every house rule holds on this repository; test_rules.py shows what each rule sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from house import rules
from house.numbers import Sources
from house.tree import ROOMS, Breach, python_files, report

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(ROOT)
    assert not breaches, "\n" + report(breaches)


def test_the_rules_read_this_repository_and_not_an_empty_folder() -> None:
    read = {path.relative_to(ROOT).as_posix() for path in python_files(ROOT, ["", *ROOMS, "tests"])}
    assert {"__init__.py", "bundles/__init__.py", "tests/house/rules.py"} <= read
    for room in rules.LIBRARY:
        assert any(name.startswith(f"{room}/") and name != f"{room}/__init__.py" for name in read), room
    sources = Sources.of(ROOT)
    assert "jamaludin2016spinenet" in sources.papers
    assert "0001" in sources.decisions
    assert "spider" in sources.data

"""The table of codes in decision 0014 and the codes that the reader can raise are the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import siamed.pipeline.scans

ROOT = Path(__file__).resolve().parents[3]


def _raised() -> set[str]:
    from siamed.pipeline.scans.sagittal import _CODES

    codes = set(_CODES.values())
    for path in Path(siamed.pipeline.scans.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CaseError" and node.args:
                if isinstance(node.args[0], ast.Constant):
                    codes.add(node.args[0].value)
    return codes


def test_every_code_is_listed_and_every_listed_code_can_be_raised():
    text = (ROOT / "docs" / "decisions" / "0014-bad-scans-are-named.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.M)
    assert len(listed) == len(set(listed)) > 25
    assert set(listed) == _raised()


def test_every_code_is_met_by_a_test():
    tests = "".join(
        p.read_text() for p in Path(__file__).parent.glob("test_*.py") if p.name != Path(__file__).name
    )
    assert not {code for code in _raised() if f'"{code}"' not in tests}

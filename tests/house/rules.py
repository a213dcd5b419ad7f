"""The house rules on code: pure functions that read a tree and return the breaches they see, sorted."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from house.documents import incomplete_decisions, machine_paths
from house.numbers import dangling_citations, uncited_numbers
from house.packaging import (
    missing_type_markers,
    open_pins,
    undeclared_dependencies,
    unlisted_packages,
    unlocked_requirements,
    unpackaged_data,
)
from house.tree import PACKAGE, ROOMS, Breach, all_imports, nodes, python_files, within

LIBRARY = ("transforms", "networks", "pipeline")
# What a room must never import. Tests and benchmarks may import every room.
FORBIDDEN_ROOMS = {
    "transforms": ("networks", "pipeline"),
    "networks": ("transforms", "pipeline"),
}
# Third-party packages with one home in the library.
HOMES = {
    "mlflow": "pipeline/experiments/mlflow_",  # mlflow_store.py and mlflow_registry.py
    "pydicom": "pipeline/scans/",
    "highdicom": "pipeline/scans/",
}
CONSOLE = "pipeline/cli/"
SPEECHLESS = ("SystemExit", "KeyboardInterrupt")


def room_directions(root: Path) -> list[Breach]:
    """transforms and networks know neither each other nor pipeline; bundles hold no code."""
    breaches = []
    for room, forbidden in FORBIDDEN_ROOMS.items():
        for path, item in all_imports(root, [room]):
            for other in forbidden:
                if within(item.name, f"{PACKAGE}.{other}"):
                    breaches.append(Breach(path, item.line, f"{room} imports {other} ({item.name})"))
    return sorted(breaches)


def bare_room_imports(root: Path) -> list[Breach]:
    """`import transforms` and its like: other distributions own those top-level names."""
    return sorted(
        Breach(path, item.line, f"bare import of {item.name}: write {PACKAGE}.{item.name}")
        for path, item in all_imports(root, ["", *ROOMS, "tests", "benchmarks"])
        for room in ROOMS
        if within(item.name, room)
    )


def star_imports(root: Path) -> list[Breach]:
    """`import *` hides where a name comes from."""
    everywhere = all_imports(root, ["", *ROOMS, "tests", "benchmarks"])
    return sorted(
        Breach(path, item.line, f"import * from {item.name}") for path, item in everywhere if item.star
    )


def strayed_dependencies(root: Path) -> list[Breach]:
    """mlflow, pydicom and highdicom are each imported in one place of the library: a folder, or files that
    share the beginning of their name."""
    return sorted(
        Breach(path, item.line, f"{package} is imported outside {home}*")
        for path, item in all_imports(root, ["", *ROOMS])
        for package, home in HOMES.items()
        if within(item.name, package) and not path.startswith(home)
    )


def utils_modules(root: Path) -> list[Breach]:
    """A room named utils collects what has no place and imports back."""
    breaches = []
    for path in python_files(root, ROOMS):
        relative = path.relative_to(root)
        if {"utils", "util"} & {relative.stem, *relative.parts[:-1]}:
            breaches.append(Breach(relative.as_posix(), 0, "a utils module: name it for what it does"))
    return sorted(breaches)


def bundle_code(root: Path) -> list[Breach]:
    """Bundles hold configurations and weights: logic lives in the rooms, where it is typed and tested."""
    paths = (path.relative_to(root).as_posix() for path in python_files(root, ["bundles"]))
    return [Breach(path, 0, "Python inside a bundle") for path in paths if path != "bundles/__init__.py"]


def prints(root: Path) -> list[Breach]:
    """Libraries log; the command line alone writes to a console."""
    return sorted(
        Breach(path, node.lineno, "print(): use logging")
        for path, node in nodes(root, ["", *ROOMS])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if not path.startswith(CONSOLE)
    )


def asserts(root: Path) -> list[Breach]:
    """`python -O` removes an assert: input is checked with errors that name argument, rule and value."""
    return sorted(
        Breach(path, node.lineno, "assert in library code")
        for path, node in nodes(root, ["", *ROOMS])
        if isinstance(node, ast.Assert)
    )


def missing_docstrings(root: Path) -> list[Breach]:
    """Modules, public functions and public classes say what they are for."""
    breaches = []
    for path in python_files(root, LIBRARY):
        relative = path.relative_to(root).as_posix()
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        if not ast.get_docstring(module):
            breaches.append(Breach(relative, 1, "the module has no docstring"))
        for node in module.body:
            if isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    breaches.append(Breach(relative, node.lineno, f"{node.name} has no docstring"))
    return sorted(breaches)


def raises_without_match(root: Path) -> list[Breach]:
    """`pytest.raises(ValueError)` passes on any ValueError, the wrong one too: `match=` says which.

    An exit and an interrupt carry no message to match.
    """
    return sorted(
        Breach(path, node.lineno, "pytest.raises without match=")
        for path, node in nodes(root, ["tests"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "raises"
        if getattr(node.func.value, "id", "") == "pytest"
        and "match" not in {word.arg for word in node.keywords}
        if not (node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in SPEECHLESS)
    )


RULES: tuple[Callable[[Path], list[Breach]], ...] = (
    room_directions,
    bare_room_imports,
    star_imports,
    strayed_dependencies,
    utils_modules,
    bundle_code,
    prints,
    asserts,
    missing_docstrings,
    raises_without_match,
    unlisted_packages,
    unpackaged_data,
    missing_type_markers,
    undeclared_dependencies,
    unlocked_requirements,
    open_pins,
    uncited_numbers,
    dangling_citations,
    incomplete_decisions,
    machine_paths,
)

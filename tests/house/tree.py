"""How the house rules read a tree: its Python files, their imports, and the form of a breach.

Conventions: `root` is the repository's folder, which is also the package `siamed`; paths in a breach are
relative to it. Nothing is imported from the tree under check, so that a rule can be tried on a planted one.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "siamed"
ROOMS = ("transforms", "networks", "pipeline", "bundles")
IMPORTING_CALLS = ("import_module", "__import__", "optional_import")
SKIPPED_FOLDERS = (".git", ".venv", ".types", "build", "dist", "demo", "runs", "__pycache__")


@dataclass(frozen=True, order=True)
class Breach:
    """One place where a rule is broken: path, line (0 where a whole file is meant), and what is wrong."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Import:
    """One imported name, made absolute: `from siamed.networks import vggm` gives `siamed.networks.vggm`."""

    name: str
    line: int
    star: bool = False


def python_files(root: Path, folders: Sequence[str]) -> Iterator[Path]:
    """The Python sources under the named folders, sorted; `""` stands for the root's own `__init__.py`."""
    for folder in folders:
        found = [root / "__init__.py"] if folder == "" else sorted((root / folder).rglob("*.py"))
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def project_files(root: Path) -> list[Path]:
    """Files that git tracks or would offer to add; without git, all outside the usual output folders."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        paths = [root / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [
            path for path in root.rglob("*") if not set(SKIPPED_FOLDERS) & set(path.relative_to(root).parts)
        ]
    return sorted(path for path in paths if path.is_file())


def imports_of(path: Path, root: Path) -> list[Import]:
    """Every import of a source, inside functions too, relative ones resolved.

    `import_module("literal")` and its like count.
    """
    here = (PACKAGE, *path.relative_to(root).parent.parts)
    found: list[Import] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                star = alias.name == "*"
                found.append(Import(module if star else f"{module}.{alias.name}", node.lineno, star))
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in IMPORTING_CALLS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(Import(first.value, node.lineno))
    return sorted(found, key=lambda item: (item.line, item.name))


def nodes(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node under the named folders, with the path of its file."""
    for path in python_files(root, folders):
        relative = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            yield relative, node


def all_imports(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, Import]]:
    """Every import under the named folders, with the path of its file."""
    for path in python_files(root, folders):
        relative = path.relative_to(root).as_posix()
        yield from ((relative, item) for item in imports_of(path, root))


def within(name: str, package: str) -> bool:
    """Whether a dotted name is a package or something inside it."""
    return name == package or name.startswith(package + ".")


def report(breaches: Iterable[Breach]) -> str:
    """Breaches as lines, for an assertion's message."""
    return "\n".join(str(breach) for breach in breaches)

"""The house rules as pure functions: each reads a tree and returns the breaches it sees, in order of path and line.

Conventions: `root` is the repository's folder, which is also the package `siamed`; paths in a breach are relative to it. Nothing is
imported from the tree under check: sources are read with `ast`, configurations with the YAML event marks, so that a rule can be tried
on a planted tree (see `test_rules.py`) and never runs what it checks.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

PACKAGE = "siamed"
ROOMS = ("transforms", "networks", "pipeline", "bundles")
LIBRARY = ("transforms", "networks", "pipeline")
# What a room must never import. Tests and benchmarks may import every room.
FORBIDDEN_ROOMS = {
    "transforms": ("networks", "pipeline"),
    "networks": ("transforms", "pipeline"),
    "bundles": ("transforms", "networks", "pipeline"),
}
# Third-party packages with one home in the library.
HOMES = {
    "mlflow": "pipeline/tracking.py",
    "pydicom": "pipeline/scans/",
    "highdicom": "pipeline/scans/",
}
CONSOLE = ("pipeline/cli.py", "pipeline/cli/")
IMPORTING_CALLS = ("import_module", "__import__", "optional_import")
SPEECHLESS = ("SystemExit", "KeyboardInterrupt")
DECISION_SECTIONS = ("Question", "Options", "Choice", "What would change our mind")
SKIPPED_FOLDERS = (".git", ".venv", ".types", "build", "dist", "demo", "runs", "__pycache__")

MACHINE_PATH = re.compile(r"(?<![\w.\-$}*])/(?:work|tmp|root|home|Users|opt/wheels)/[\w.]")
TAG = re.compile(r"\[([^\]\[]+)\]")
DECISION_TAG = re.compile(r"D-(\d{4})$")
DATA_TAG = re.compile(r"data ([\w.-]+)$")
PAPER_TAG = re.compile(r"([a-z]+\d{4}[a-z]*), \S.*$")
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$")


@dataclass(frozen=True, order=True)
class Breach:
    """One place where a rule is broken: path relative to the root, line (0 where a whole file is meant), and what is wrong."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Import:
    """One imported dotted name, made absolute: `from siamed.networks import vggm` gives `siamed.networks.vggm`."""

    name: str
    line: int
    star: bool = False


# ---- reading the tree ------------------------------------------------------------------------------------------------------------


def python_files(root: Path, folders: Sequence[str]) -> Iterator[Path]:
    """The Python sources under the named folders of the root, sorted; a root-level `__init__.py` counts with `""`."""
    for folder in folders:
        found = [root / "__init__.py"] if folder == "" else sorted((root / folder).rglob("*.py"))
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def project_files(root: Path) -> list[Path]:
    """Files that git tracks or would offer to add; without git, all files outside the usual output folders."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        paths = [root / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in root.rglob("*") if not set(SKIPPED_FOLDERS) & set(path.relative_to(root).parts)]
    return sorted(path for path in paths if path.is_file())


def imports_of(path: Path, root: Path) -> list[Import]:
    """Every import of a source, inside functions too, relative ones resolved, `import_module("literal")` and its like counted."""
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


def _nodes(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, ast.AST]]:
    for path in python_files(root, folders):
        relative = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            yield relative, node


def _imports(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, Import]]:
    for path in python_files(root, folders):
        relative = path.relative_to(root).as_posix()
        yield from ((relative, item) for item in imports_of(path, root))


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


# ---- imports ---------------------------------------------------------------------------------------------------------------------


def room_directions(root: Path) -> list[Breach]:
    """transforms and networks know neither each other nor pipeline; bundles hold no code."""
    breaches = []
    for room, forbidden in FORBIDDEN_ROOMS.items():
        for path, item in _imports(root, [room]):
            for other in forbidden:
                if _within(item.name, f"{PACKAGE}.{other}"):
                    breaches.append(Breach(path, item.line, f"{room} imports {other} ({item.name})"))
    return sorted(breaches)


def bare_room_imports(root: Path) -> list[Breach]:
    """`import transforms` and its like: other distributions own those top-level names."""
    return sorted(
        Breach(path, item.line, f"bare import of {item.name}: write {PACKAGE}.{item.name}")
        for path, item in _imports(root, ["", *ROOMS, "tests", "benchmarks"])
        for room in ROOMS
        if _within(item.name, room)
    )


def star_imports(root: Path) -> list[Breach]:
    """`import *` hides where a name comes from."""
    everywhere = _imports(root, ["", *ROOMS, "tests", "benchmarks"])
    return sorted(Breach(path, item.line, f"import * from {item.name}") for path, item in everywhere if item.star)


def strayed_dependencies(root: Path) -> list[Breach]:
    """mlflow, pydicom and highdicom are each imported in one place of the library."""
    return sorted(
        Breach(path, item.line, f"{package} is imported outside {home}")
        for path, item in _imports(root, ["", *ROOMS])
        for package, home in HOMES.items()
        if _within(item.name, package) and not path.startswith(home)
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
    """Bundles hold configurations and weights: their logic lives in the rooms, where it is typed and tested."""
    paths = (path.relative_to(root).as_posix() for path in python_files(root, ["bundles"]))
    return [Breach(path, 0, "Python inside a bundle") for path in paths if path != "bundles/__init__.py"]


# ---- code ------------------------------------------------------------------------------------------------------------------------


def prints(root: Path) -> list[Breach]:
    """Libraries log; the command line alone writes to a console."""
    return sorted(
        Breach(path, node.lineno, "print(): use logging")
        for path, node in _nodes(root, ["", *ROOMS])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if not path.startswith(CONSOLE)
    )


def asserts(root: Path) -> list[Breach]:
    """`python -O` removes an assert: input is checked with errors that name the argument, the rule and the value."""
    return sorted(
        Breach(path, node.lineno, "assert in library code")
        for path, node in _nodes(root, ["", *ROOMS])
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
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    breaches.append(Breach(relative, node.lineno, f"{node.name} has no docstring"))
    return sorted(breaches)


def raises_without_match(root: Path) -> list[Breach]:
    """`pytest.raises(ValueError)` passes on any ValueError, the wrong one too: `match=` says which.

    An exit and an interrupt carry no message to match.
    """
    return sorted(
        Breach(path, node.lineno, "pytest.raises without match=")
        for path, node in _nodes(root, ["tests"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "raises"
        if getattr(node.func.value, "id", "") == "pytest" and "match" not in {word.arg for word in node.keywords}
        if not (node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in SPEECHLESS)
    )


# ---- packaging -------------------------------------------------------------------------------------------------------------------


def _setup(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    return config


def unlisted_packages(root: Path) -> list[Breach]:
    """setup.cfg lists packages one by one: a forgotten one is missing from the wheel alone, where nobody looks."""
    listed = set(_setup(root)["options"]["packages"].split())
    present = {PACKAGE} | {
        ".".join((PACKAGE, *path.parent.relative_to(root).parts))
        for path in python_files(root, ROOMS)
        if path.name == "__init__.py"
    }
    breaches = [Breach("setup.cfg", 0, f"{name} has an __init__.py and is not listed") for name in present - listed]
    breaches += [Breach("setup.cfg", 0, f"{name} is listed and has no __init__.py") for name in listed - present]
    for path in python_files(root, ROOMS):
        if not (path.parent / "__init__.py").is_file():
            breaches.append(Breach(path.relative_to(root).as_posix(), 0, "its folder has no __init__.py"))
    return sorted(set(breaches))


def unpackaged_data(root: Path) -> list[Breach]:
    """Files of the rooms that are not Python must match a package_data pattern, or a wheel lacks them."""
    config = _setup(root)
    data = config["options.package_data"]
    everywhere = set(data.get("*", "").split())
    packages = sorted(config["options"]["packages"].split(), key=len, reverse=True)
    breaches = []
    for path in project_files(root):
        relative = path.relative_to(root)
        if relative.parts[0] not in ROOMS or relative.suffix == ".py":
            continue
        dotted = ".".join((PACKAGE, *relative.parts[:-1]))
        owner = next(name for name in packages if _within(dotted, name))
        folder = root.joinpath(*owner.split(".")[1:])
        patterns = everywhere | set(data.get(owner.lower(), "").split())
        if not any(path in _glob(folder, pattern) for pattern in patterns):
            breaches.append(Breach(relative.as_posix(), 0, f"no package_data pattern of {owner} takes it"))
    return sorted(breaches)


def _glob(folder: Path, pattern: str) -> set[Path]:
    # As setuptools reads a pattern: a final ** means every file below.
    return set(folder.glob(pattern + "/*" if pattern.endswith("**") else pattern))


def missing_type_markers(root: Path) -> list[Breach]:
    """`py.typed` in the root and each room tells type checkers to read the annotations."""
    folders = [folder for folder in ("", *ROOMS) if not (root / folder / "py.typed").is_file()]
    return [Breach(f"{folder}/py.typed".lstrip("/"), 0, "missing") for folder in folders]


def open_pins(root: Path) -> list[Breach]:
    """A lock file holds exact versions alone: no ranges, hosts, links or local files."""
    breaches = []
    for number, line in enumerate((root / "requirements.lock").read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#") and not re.match(r"[a-z0-9][a-z0-9-]*==[\w.]+( ; .+)?$", line):
            breaches.append(Breach("requirements.lock", number, f"not an exact pin: {line}"))
    return breaches


# ---- sources of numbers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """What a citation tag may name: keys of references.bib, numbers of decision records, names of data sets."""

    papers: frozenset[str]
    decisions: frozenset[str]
    data: frozenset[str]

    @classmethod
    def of(cls, root: Path) -> Sources:
        """Read them from docs/."""
        bib, data = root / "docs/references.bib", root / "docs/data.md"
        return cls(
            frozenset(re.findall(r"^@\w+\{([^,\s]+),", bib.read_text(encoding="utf-8"), re.M) if bib.is_file() else ()),
            frozenset(path.name[:4] for path in (root / "docs/decisions").glob("[0-9][0-9][0-9][0-9]-*.md")),
            frozenset(re.findall(r"^#+ `?([\w.-]+)`?$", data.read_text(encoding="utf-8"), re.M) if data.is_file() else ()),
        )  # fmt: skip

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


def uncited_numbers(root: Path) -> list[Breach]:
    """Each number under `hparams:` of a bundle's YAML carries one citation tag in a trailing comment, and the tag resolves."""
    sources = Sources.of(root)
    breaches = []
    for path in sorted((root / "bundles").glob("*/configs/*.yaml")):
        text, relative = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        lines = text.splitlines()
        for line in sorted(set(_hparam_number_lines(yaml.compose(text, Loader=yaml.SafeLoader)))):
            comment = re.search(r"\s#(.*)$", lines[line])
            tags = TAG.findall(comment[1]) if comment else []
            if len(tags) != 1:
                breaches.append(Breach(relative, line + 1, f"{len(tags)} citation tags, not one: {lines[line].strip()}"))
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
    # YAML 1.1 reads 1e-4 as a string: a reader sees a number, and so does this rule.
    elif isinstance(node, yaml.ScalarNode) and (node.tag[-4:] in (":int", "loat") or NUMBER.match(node.value)):
        yield node.start_mark.line


def dangling_citations(root: Path) -> list[Breach]:
    """Tags in sources, bundles and documents that look like citations name a paper, decision or data set that exists."""
    sources = Sources.of(root)
    breaches = []
    for path in project_files(root):
        relative = path.relative_to(root).as_posix()
        if path.suffix not in (".py", ".yaml", ".md") or relative.startswith("tests/house/"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for tag in TAG.findall(line):
                if any(pattern.match(tag) for pattern in (DECISION_TAG, DATA_TAG, PAPER_TAG)) and (why := sources.resolve(tag)):
                    breaches.append(Breach(relative, number, why))
    return breaches


# ---- documents -------------------------------------------------------------------------------------------------------------------


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
                breaches.append(Breach(path.relative_to(root).as_posix(), number, f"a machine's path: {match[0]}"))
    return breaches


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
    open_pins,
    uncited_numbers,
    dangling_citations,
    incomplete_decisions,
    machine_paths,
)


def report(breaches: Iterable[Breach]) -> str:
    """Breaches as lines, for an assertion's message."""
    return "\n".join(str(breach) for breach in breaches)

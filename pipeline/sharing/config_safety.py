"""What a bundle's configuration may name before anybody's code is run for it.

MONAI runs whatever a configuration says: each ``_target_`` is imported and called, each string that begins
with ``$`` is evaluated, and ``logging.conf`` is evaluated by Python's own reader. Here configurations are
read as data and held against a list of what a bundle needs:

* ``_target_`` and names in expressions lead, through modules of monai, torch, siamed, numpy and ignite alone,
  to a class that was defined in one of them (``torch.os.system`` is the operating system's) or to one of few
  functions: among all functions of these packages some load pickles from bytes or run a program;
* expressions are calls, arithmetic, comparisons and small literals: no statement, no private attribute, no
  builtin that reaches further;
* paths stay inside the bundle: none is absolute, none climbs.

It is a list of what is allowed, not a sandbox: a bundle that passes can still train for a year, or fill its
own output folder.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .component_names import PACKAGES, may_be_imported, name_fault

__all__ = ["config_faults", "logging_faults"]

# MONAI knows these names in every expression.
_GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
_BUILTINS = frozenset(
    "abs all any bool dict enumerate float int isinstance len list max min range round set sorted str sum "
    "tuple zip True False None".split()
)
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Call, ast.keyword,
    ast.Starred, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.arguments, ast.arg, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
# Of values: frames lead out of an expression, format strings read attributes, the others write or run.
_ATTRIBUTE = re.compile(
    r"_|(gi|cr|ag|tb|f|co|func)_|(format(_map)?|tofile|dumps?|save|export|system|popen|eval|exec|open)$"
)
_ALIAS = "alias"  # compared by identity; aliases of aliases grow beyond all memory
_REFERENCE = re.compile(r"@[\w:#]+")
_LEADS_OUT = re.compile(r"^([/\\~]|[A-Za-z]:[/\\])|(^|[/\\])\.\.([/\\]|$)|://")


def config_faults(config: Any) -> list[str]:
    """What is wrong with a configuration, in the order in which it is written.

    Args:
        config: the content of a configuration file, as data.

    Returns:
        One line a fault: where, what, and why it is refused. Empty if nothing is.

    Randomness: deterministic.
    """
    imports, faults = dict(_GLOBALS), []
    texts = list(_texts(config, "", set()))
    for where, text in texts:
        if text.startswith("$") and _is_import(text):
            found, fault = _imported(text[1:])
            imports |= found
            faults += [f"{where}: {fault}"] if fault else []
    for where, text in texts:
        faults += [f"{where}: {fault}" for fault in _text_faults(where, text, imports)]
    return faults


def _texts(node: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every string and where it stands; a block that stands in two places (a YAML alias) is given as a
    fault."""
    if isinstance(node, (Mapping, list)):
        if id(node) in seen:
            yield where, _ALIAS
            return
        seen.add(id(node))
    if isinstance(node, Mapping):
        for key, value in node.items():
            place = f"{where}#{key}" if where else str(key)
            if key == "_target_" and not isinstance(value, str):
                yield place, "$" + repr(value)
            else:
                yield from _texts(value, place, seen)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(value, f"{where}#{number}", seen)
    elif isinstance(node, str):
        yield where, node


def _text_faults(where: str, text: str, imports: Mapping[str, str]) -> list[str]:
    key = where.rsplit("#", 1)[-1]
    if text is _ALIAS:
        return ["a block may not stand in two places: write it out instead of an alias"]
    if key == "_target_":
        fault = name_fault(text)
        return [fault] if fault else []
    if key == "_mode_" and text not in ("default", "callable", "partial"):
        return [f"_mode_ must be default, callable or partial, got {text!r}"]
    if text.startswith("$"):
        return [] if _is_import(text) else _expression_faults(text[1:], imports)
    if text.startswith("%"):
        reads = re.search(r"\.(json|ya?ml)\b", text, re.I)
        return [f"a macro reads a file that is not looked at, write it out: got {text!r}"] if reads else []
    if _leads_out(text):
        return [f"a path must stay inside the bundle's folders, got {text!r}"]
    return []


def _leads_out(text: str) -> bool:
    return bool(_LEADS_OUT.search(text))


def _is_import(text: str) -> bool:
    return bool(re.match(r"^\$\s*(import|from)\s", text))


def _imported(text: str) -> tuple[dict[str, str], str | None]:
    """Names that an import statement binds, and what is wrong with it."""
    try:
        statements = ast.parse(text.strip()).body
    except SyntaxError:
        return {}, f"an import must be one statement, got {text!r}"
    found: dict[str, str] = {}
    asked: list[str] = []
    for statement in statements:
        if isinstance(statement, ast.Import):
            asked += [alias.name for alias in statement.names]
            # Without another name the package's own is bound.
            found |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in statement.names
            }
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            names = {a.asname or a.name: f"{statement.module}.{a.name}" for a in statement.names}
            asked += names.values()
            found |= names
        else:
            return {}, f"an import must be one statement, got {text!r}"
    refused = sorted(path for path in asked if not may_be_imported(path))
    if refused:
        return {}, f"imports must be of {', '.join(PACKAGES)}, got {refused[0]!r}"
    return found, None


def _expression_faults(text: str, imports: Mapping[str, str]) -> list[str]:
    try:
        tree = ast.parse(_REFERENCE.sub("_reference", text).strip(), mode="eval")
    except SyntaxError:
        return [f"an expression must be one of Python's, without statements, got ${text}"]
    known = {"_reference"} | {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }
    faults: list[str] = []
    in_chain: set[ast.AST] = set()
    appended = {
        id(node.right)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and isinstance(node.left, ast.Name)
        and node.left.id == "_reference"
    }
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            faults.append(f"{type(node).__name__} is not allowed in an expression: ${text}")
        elif isinstance(node, (ast.Attribute, ast.Name)) and node not in in_chain:
            faults += _name_faults(node, in_chain, known, imports)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            faults.append(f"bytes are not allowed in an expression: ${text}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # What is appended to a reference begins with a slash and is not absolute.
            value = node.value.lstrip("/") if id(node) in appended else node.value
            if _leads_out(value):
                faults.append(f"a path must stay inside the bundle's folders, got {node.value!r}")
    return faults


def _name_faults(
    node: ast.Attribute | ast.Name, in_chain: set[ast.AST], known: set[str], imports: Mapping[str, str]
) -> list[str]:
    attributes: list[str] = []
    root: ast.AST = node
    while isinstance(root, ast.Attribute):
        in_chain.add(root)
        attributes.insert(0, root.attr)
        root = root.value
    faults = [f"the attribute {name!r} is not allowed" for name in attributes if _ATTRIBUTE.match(name)]
    if not isinstance(root, ast.Name):
        return faults
    in_chain.add(root)
    if root.id in known:
        return faults
    if root.id in imports:
        fault = name_fault(".".join([imports[root.id], *attributes]))
        return [fault] if fault else faults
    return faults if root.id in _BUILTINS else [f"the name {root.id!r} is not allowed"]


def logging_faults(text: str) -> list[str]:
    """What is wrong with a ``logging.conf``: Python evaluates its handlers' arguments.

    Args:
        text: the file's content.

    Returns:
        One line a fault: only streams of the console may be written to, by the standard classes.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        return [f"logging.conf must be a configuration of Python's logging: {error}"]
    faults = []
    for section in parser.sections():
        for key, allowed in (
            ("class", ("StreamHandler", "NullHandler", "Formatter")),
            ("args", ("()", "(sys.stderr,)", "(sys.stdout,)")),
            ("kwargs", ("{}",)),
            ("stream", ("sys.stderr", "sys.stdout", "ext://sys.stderr", "ext://sys.stdout")),
        ):
            value = parser.get(section, key, fallback=None)
            if value is not None and value.replace(" ", "") not in allowed:
                faults.append(f"{key} of [{section}] must be one of {', '.join(allowed)}, got {value!r}")
    return faults

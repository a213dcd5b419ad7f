"""The house rules on packaging: what is listed, what is shipped, what is pinned."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

from house.tree import PACKAGE, ROOMS, Breach, all_imports, project_files, python_files, within

# Where a distribution's name is not that of its module.
DISTRIBUTIONS = {
    "ignite": "pytorch-ignite",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def _setup(root: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    return config


def unlisted_packages(root: Path) -> list[Breach]:
    """setup.cfg lists packages one by one: a forgotten one is missing from the wheel, where nobody looks."""
    listed = set(_setup(root)["options"]["packages"].split())
    present = {PACKAGE} | {
        ".".join((PACKAGE, *path.parent.relative_to(root).parts))
        for path in python_files(root, ROOMS)
        if path.name == "__init__.py"
    }
    breaches = [
        Breach("setup.cfg", 0, f"{name} has an __init__.py and is not listed") for name in present - listed
    ]
    breaches += [
        Breach("setup.cfg", 0, f"{name} is listed and has no __init__.py") for name in listed - present
    ]
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
        owner = next(name for name in packages if within(dotted, name))
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


def undeclared_dependencies(root: Path) -> list[Breach]:
    """What the library imports stands in setup.cfg, or an installation works by luck."""
    declared = {requirement.name for requirement in _requirements(root, extras=False)}
    return sorted(
        {
            Breach(path, item.line, f"{module} comes from a distribution that setup.cfg does not name")
            for path, item in all_imports(root, ["", *ROOMS])
            for module in [item.name.split(".")[0]]
            if module not in sys.stdlib_module_names and module not in (PACKAGE, *ROOMS)
            if DISTRIBUTIONS.get(module, module.replace("_", "-")) not in declared
            if module not in declared
        }
    )


def unlocked_requirements(root: Path) -> list[Breach]:
    """Each requirement of setup.cfg has pins in the lock file, all inside its range."""
    pins: dict[str, set[str]] = {}
    for line in (root / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9-]+)==([\w.]+)", line):
            pins.setdefault(match[1], set()).add(match[2])
    breaches = []
    for requirement in _requirements(root, extras=True):
        locked = pins.get(requirement.name.lower().replace("_", "-"), set())
        outside = sorted(version for version in locked if version not in requirement.specifier)
        if not locked or outside:
            breaches.append(Breach("requirements.lock", 0, f"{requirement}: {outside or 'not'} locked"))
    return sorted(breaches)


def _requirements(root: Path, extras: bool) -> list[Requirement]:
    config = _setup(root)
    lines = config.get("options", "install_requires", fallback="").splitlines()
    if extras and config.has_section("options.extras_require"):
        lines += [line for value in config["options.extras_require"].values() for line in value.splitlines()]
    return [Requirement(line) for line in lines if line.strip()]


def open_pins(root: Path) -> list[Breach]:
    """A lock file holds exact versions alone: no ranges, hosts, links or local files."""
    breaches = []
    for number, line in enumerate((root / "requirements.lock").read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#") and not re.match(r"[a-z0-9][a-z0-9-]*==[\w.]+( ; .+)?$", line):
            breaches.append(Breach("requirements.lock", number, f"not an exact pin: {line}"))
    return breaches

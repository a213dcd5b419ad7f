"""The files of a bundle: which there may be, and SHA256SUMS, which says what each one is.

``SHA256SUMS`` at the root is in the form of ``sha256sum``: ``sha256sum -c SHA256SUMS`` checks a bundle
without siamed.
"""

from __future__ import annotations

import re
from pathlib import Path

from siamed.pipeline.build_bundle import MAX_WEIGHTS_MB
from siamed.pipeline.experiments.files import replace_file, sha256_of

__all__ = ["REQUIRED", "SUMS", "bundle_files", "file_faults", "read_sums", "sums_faults", "write_sums"]

SUMS = "SHA256SUMS"
REQUIRED = ("LICENSE", "configs/metadata.json", "docs/README.md", "models/model.pt")
_ALLOWED = re.compile(
    r"LICENSE|SHA256SUMS|configs/[\w-]+\.(json|ya?ml)|configs/logging\.conf"
    r"|docs/[\w-]+(\.[\w-]+)*\.(md|txt|json|png)|models/model\.(pt|ts|pt2|onnx)"
)
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def bundle_files(root: Path) -> list[str]:
    """Paths of all files below a bundle's folder, relative to it, sorted."""
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_symlink() or p.is_file())


def file_faults(root: Path) -> list[str]:
    """What is missing from a bundle's folder, does not belong there, or is too large.

    A file that may not be there is refused, not skipped: Python imports a ``glob.py`` from the working
    folder.
    """
    files = bundle_files(root)
    faults = [f"{name} is missing" for name in REQUIRED if name not in files]
    faults += [f"{name} may not be in a bundle" for name in files if not _ALLOWED.fullmatch(name)]
    faults += [f"{name} is a link" for name in files if (root / name).is_symlink()]
    limit = MAX_WEIGHTS_MB * 1e6
    faults += [
        f"{name} has {(root / name).stat().st_size / 1e6:.1f} MB, at most {MAX_WEIGHTS_MB:.0f} are allowed"
        for name in files
        if not (root / name).is_symlink() and (root / name).stat().st_size > limit
    ]
    return faults


def write_sums(root: Path) -> Path:
    """Write the SHA-256 of every other file of a bundle into its ``SHA256SUMS``."""
    lines = [f"{sha256_of(root / name)}  {name}\n" for name in bundle_files(root) if name != SUMS]
    return replace_file(root / SUMS, lambda beside: beside.write_text("".join(lines), encoding="utf-8"))


def read_sums(root: Path) -> dict[str, str]:
    """SHA-256 by file, as ``SHA256SUMS`` has them.

    Raises:
        ValueError: if a line is not in the form of ``sha256sum``.
    """
    found = {}
    for line in (root / SUMS).read_text(encoding="utf-8").splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            raise ValueError(f"{SUMS} must have lines 'HASH  FILE', got {line!r}")
        found[match[2]] = match[1]
    return found


def sums_faults(root: Path) -> list[str]:
    """Where a bundle's files and its ``SHA256SUMS`` disagree: both ways, changed files and files that one of
    them lacks."""
    try:
        sums = read_sums(root)
    except (OSError, ValueError) as error:
        return [str(error) if isinstance(error, ValueError) else f"{SUMS} is missing"]
    files = set(bundle_files(root)) - {SUMS}
    faults = [f"{name} is in {SUMS} and not in the bundle" for name in sorted(set(sums) - files)]
    faults += [f"{name} is not in {SUMS}" for name in sorted(files - set(sums))]
    faults += [
        f"{name} is not the file that {SUMS} names"
        for name in sorted(files & set(sums))
        if sha256_of(root / name) != sums[name]
    ]
    return faults

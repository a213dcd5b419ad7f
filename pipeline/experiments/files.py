"""Files that are whole or absent: written beside their place, synced, then renamed over it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = [
    "read_json",
    "read_npz",
    "replace_file",
    "save_checkpoint",
    "sha256_of",
    "write_json",
    "write_npz",
]


def replace_file(
    path: str | Path, write: Callable[[Path], Any], check: Callable[[Path], Any] | None = None
) -> Path:
    """Let ``write`` fill a file beside ``path`` and rename it over ``path``.

    A process killed at any moment leaves the old file or the new one, never a part of one.

    Args:
        path: the file to make or replace; missing parent folders are made.
        write: called with the path of the file to fill.
        check: called with the filled file before the rename; raises to refuse it.

    Returns:
        ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(beside)
        if check is not None:
            check(beside)
        with open(beside, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON (what JSON does not know is written as its text), whole or not at all."""
    text = json.dumps(content, indent=2, default=str) + "\n"
    return replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file, or None where there is no file.

    Raises:
        ValueError: if the file is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} must be JSON: {error}") from error


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays as ``.npz``, under just this name, whole or not at all."""

    def write(beside: Path) -> None:
        with beside.open("wb") as file:  # np.savez adds a suffix to a name
            np.savez(file, **arrays)  # type: ignore[arg-type]

    return replace_file(path, write)


def read_npz(path: str | Path, names: Iterable[str], what: str) -> dict[str, np.ndarray]:
    """The named arrays of an ``.npz``, without pickles.

    Args:
        path: the file.
        names: arrays that it must hold.
        what: what the file is, for the error.

    Raises:
        ValueError: if it lacks one of them.
    """
    with np.load(path, allow_pickle=False) as file:
        missing = sorted(set(names) - set(file))
        if missing:
            raise ValueError(f"path must hold {what}, {Path(path).name} lacks {missing}")
        return {name: file[name] for name in names}


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> Path:
    """``torch.save``, whole or not at all."""
    return replace_file(path, lambda beside: torch.save(content, beside))


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()

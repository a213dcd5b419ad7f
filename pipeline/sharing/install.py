"""A bundle downloaded, checked and put in place: the whole new one or the old one, never a part.

Order: hash of the zip, check of the unpacked bundle beside its place, two renames. A process that dies
between the renames leaves the old bundle under another name, which the next one puts back. One process at a
time works on a bundle; others wait, and find it done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from siamed.pipeline.bundles import installed_dir
from siamed.pipeline.experiments.files import read_json, write_json

from .archive import unpack
from .contents import sums_faults
from .download import Tell, download
from .index import split_name
from .sources import Promise, Source
from .verify import Unsound, verify_bundle

__all__ = ["Installed", "get_bundle"]


@dataclass(frozen=True)
class Installed:
    """A bundle in place.

    Args:
        folder: of the bundle.
        version: of it.
        before: version that it replaced, None if there was none.
        changed: False where it was there already.
    """

    folder: Path
    version: str
    before: str | None
    changed: bool


def get_bundle(
    wanted: str,
    source: Source,
    folder: str | Path | None = None,
    tell: Tell | None = None,
    pause_s: float = 1.0,
) -> Installed:
    """Get a bundle.

    Args:
        wanted: ``NAME``, the newest version, or ``NAME@VERSION``.
        source: where from.
        folder: where bundles are kept; default :func:`siamed.pipeline.bundles.installed_dir`, where MONAI
            keeps them too.
        tell: called with what is done, how far, and of how much.
        pause_s: see :func:`siamed.pipeline.sharing.download.download`.

    Returns:
        What is there now.

    Raises:
        ValueError: if there is no such bundle, or no source.
        DownloadError: if it cannot be downloaded, or has other bytes than promised.
        Unsound: if the check of the bundle refuses it; the old one stays.
        OSError: if the disk is full; the old one stays.
    """
    name, version = split_name(wanted)
    place = Path(folder) if folder is not None else installed_dir()
    tell = tell or (lambda what, done, total: None)
    promise = source.promise(name, version)
    place.mkdir(parents=True, exist_ok=True)
    with _only_one(place / f".{name}.lock", tell):
        _clear_up(place, name)
        here = _installed(place, name)
        if here is not None and _is_enough(here, promise, version) and not sums_faults(place / name):
            return Installed(place / name, here["version"], here["version"], changed=False)
        kept = place / ".downloads"
        file = download(promise.url, kept, promise.sha256, promise.size, tell, source.headers(), pause_s)
        try:
            new = _install(file, promise, place, tell)
        finally:
            file.unlink(missing_ok=True)
        return Installed(place / name, new, here["version"] if here else None, changed=True)


def _is_enough(here: dict[str, str], promise: Promise, version: str | None) -> bool:
    """Whether what is in place is what was promised, or newer where no version was asked for."""
    if here.get("sha256") == promise.sha256:
        return True
    newest = version is None and promise.version is not None
    return newest and "sha256" in here and Version(here["version"]) > Version(str(promise.version))


def _install(file: Path, promise: Promise, place: Path, tell: Tell) -> str:
    tell("checking", 0, 0)
    beside = place / f".new_{promise.name}"
    try:
        root = unpack(file, beside)
        report = verify_bundle(root, summed=True)
        report.raise_if_unsound()
        if report.bundle != promise.name:
            raise Unsound(f"{promise.name} is refused: its zip holds {report.bundle}")
        if promise.version is not None and Version(report.version) != Version(promise.version):
            raise Unsound(
                f"{promise.name} {promise.version} is refused: its zip holds version {report.version}"
            )
        _swap(root, place, promise.name)
        write_json(_receipt(place, promise.name), {"version": report.version, "sha256": promise.sha256})
        return report.version
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _receipt(place: Path, name: str) -> Path:
    return place / f".{name}.json"


def _installed(place: Path, name: str) -> dict[str, str] | None:
    """Version of what is in place, and the hash of the zip it came from if it was got by siamed."""
    try:
        metadata = read_json(place / name / "configs" / "metadata.json")
        receipt = read_json(_receipt(place, name)) or {}
        version = None if metadata is None else str(metadata["version"])
    except (KeyError, TypeError, ValueError):
        return {"version": "unknown"}  # damaged: it will be replaced
    if version is None:
        return None
    return {
        "version": version,
        **({"sha256": receipt["sha256"]} if receipt.get("version") == version else {}),
    }


def _swap(root: Path, place: Path, name: str) -> None:
    old = place / f".old_{name}"
    shutil.rmtree(old, ignore_errors=True)
    if (place / name).exists():
        os.rename(place / name, old)
    try:
        os.rename(root, place / name)
    finally:
        _clear_up(place, name)


def _clear_up(place: Path, name: str) -> None:
    """What a process left that died: an old bundle without a new one goes back, parts are removed."""
    old = place / f".old_{name}"
    if old.exists() and not (place / name).exists():
        os.rename(old, place / name)
    for part in (old, place / f".new_{name}"):
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _only_one(lock: Path, tell: Callable[[str, float, int], None]) -> Iterator[None]:
    handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("waiting for another process that gets it", 0, 0)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

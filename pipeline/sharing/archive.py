"""A bundle as one zip file: the same bytes from the same files, and unpacked without trusting it.

Entries are sorted, dated 1980 and stored without compression: weights hardly shrink, and what zlib makes of a
text changes with its version [D-0077].
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from pathlib import Path

from siamed.pipeline.experiments.files import replace_file

from .contents import bundle_files

__all__ = ["MAX_FILES", "MAX_UNPACKED_MB", "archive_faults", "pack", "unpack"]

MAX_FILES = 200
MAX_UNPACKED_MB = 200.0
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16


def pack(root: Path, path: Path) -> Path:
    """Write a folder as a zip whose only root folder has the bundle's name; whole or not at all.

    Args:
        root: the bundle's folder.
        path: the zip to write.

    Returns:
        ``path``.
    """

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            for name in bundle_files(root):
                entry = zipfile.ZipInfo(f"{root.name}/{name}", _DATE)
                entry.external_attr, entry.create_system = _MODE, 3
                archive.writestr(entry, (root / name).read_bytes())

    return replace_file(path, write)


def archive_faults(path: Path) -> list[str]:
    """Why a zip may not be unpacked: names that leave the folder, links, bombs, more than one root.

    Sizes are those that the zip claims, beyond which nothing is unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        return [f"{path.name} must be a zip file: {error}"]
    faults = []
    if len(entries) > MAX_FILES:
        faults.append(f"{path.name} has {len(entries)} entries, at most {MAX_FILES} are allowed")
    total = sum(entry.file_size for entry in entries) / 1e6
    if total > MAX_UNPACKED_MB:
        faults.append(f"{path.name} unpacks to {total:.0f} MB, at most {MAX_UNPACKED_MB:.0f} are allowed")
    seen: set[str] = set()
    for entry in entries:
        faults += _entry_faults(entry, seen)
    roots = sorted({entry.filename.split("/")[0] for entry in entries})
    if len(roots) != 1:
        faults.append(f"{path.name} must have one root folder, got {roots[:5]}")
    return faults


def _entry_faults(entry: zipfile.ZipInfo, seen: set[str]) -> list[str]:
    # orig_filename: zipfile itself cuts at a zero byte and turns backslashes around on some systems.
    name, faults = entry.orig_filename, []
    parts = name.rstrip("/").split("/")
    if re.search(r'[\\:*?"<>|\x00-\x1f]', name) or name.startswith("/") or {"", ".", ".."} & set(parts):
        faults.append(f"{name!r} leaves the folder it is unpacked in")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        faults.append(f"{name!r} is a link or a special file")
    if entry.flag_bits & 1:
        faults.append(f"{name!r} is encrypted")
    if name.lower() in seen:
        faults.append(f"{name!r} is there twice")
    seen.add(name.lower())
    return faults


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a zip that has no faults into an empty folder.

    Args:
        path: the zip.
        folder: made; must not exist.

    Returns:
        The bundle's folder below ``folder``.

    Raises:
        ValueError: if the zip has faults, or is damaged; nothing is left behind.
    """
    faults = archive_faults(path)
    if faults:
        raise ValueError("; ".join(faults))
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    _write_entry(archive, entry, folder / entry.filename)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / next(iter(folder.iterdir())).name


def _write_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    # zipfile reads no more than the size that an entry claims, and compares its checksum at the end.
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(entry) as source, open(place, "xb") as target:
            shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{entry.filename!r} is damaged: {error}") from error

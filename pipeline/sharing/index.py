"""``index.json``: which bundles a server has, in which versions, and what their bytes must be.

One file beside the zips, so that a folder on any web server, an object store or a release page is a source:
``{"schema": "siamed/index/1", "bundles": [{"name", "version", "url", "sha256", "size"}, ...]}``; ``url`` may
be relative to the index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urljoin

from packaging.version import InvalidVersion, Version

from siamed.pipeline.experiments.files import write_json

__all__ = ["INDEX", "SCHEMA", "Entry", "choose", "merge", "read_index", "split_name", "write_index"]

INDEX = "index.json"
SCHEMA = "siamed/index/1"
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass(frozen=True)
class Entry:
    """One version of one bundle.

    Args:
        name: of the bundle, which is the root folder of its zip.
        version: of the bundle.
        url: of the zip.
        sha256: of the zip, hexadecimal.
        size: of the zip, in bytes.

    Raises:
        ValueError: if one of them is none of these things.
    """

    name: str
    version: str
    url: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name must be letters, digits, - and _, got {self.name!r}")
        try:
            Version(self.version)
        except InvalidVersion as error:
            raise ValueError(f"version must be like 1.2.3, got {self.version!r}") from error
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, got {self.sha256!r}")
        if not (isinstance(self.size, int) and self.size > 0):
            raise ValueError(f"size must be a number of bytes, got {self.size!r}")


def split_name(wanted: str) -> tuple[str, str | None]:
    """``NAME@VERSION`` as its two parts; the version is None where none is given.

    Raises:
        ValueError: if it is neither.
    """
    name, at, version = wanted.partition("@")
    if not _NAME.fullmatch(name) or (at and not version):
        raise ValueError(f"name must be NAME or NAME@VERSION, got {wanted!r}")
    return name, version or None


def read_index(text: str, base_url: str) -> list[Entry]:
    """The entries of an index.

    Args:
        text: of the file.
        base_url: where it came from; relative addresses start there.

    Raises:
        ValueError: if it is no index.
    """
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']!r}")
        keys = Entry.__dataclass_fields__
        entries = [Entry(**{key: row[key] for key in keys}) for row in content["bundles"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"index must be of the schema {SCHEMA}: {error!r}") from error
    return [Entry(e.name, e.version, urljoin(base_url, e.url), e.sha256, e.size) for e in entries]


def choose(entries: Iterable[Entry], name: str, version: str | None) -> Entry:
    """The entry of a bundle: that version, or the newest, compared as versions (0.10 is newer than 0.9).

    Raises:
        ValueError: if the index has no such bundle or version; the message says what it has.
    """
    entries = list(entries)
    own = sorted((e for e in entries if e.name == name), key=lambda e: Version(e.version))
    if not own:
        raise ValueError(f"the index has no bundle {name}, it has {sorted({e.name for e in entries})}")
    if version is None:
        # A pre-release is taken only where it is asked for, or nothing else is there.
        return next((e for e in reversed(own) if not Version(e.version).is_prerelease), own[-1])
    for entry in own:
        if Version(entry.version) == Version(version):
            return entry
    raise ValueError(f"the index has no {name} {version}, it has {[e.version for e in own]}")


def merge(entries: Sequence[Entry], new: Entry) -> list[Entry]:
    """The entries with one more; a version that was published stays what it was.

    Raises:
        ValueError: if the version is there with other bytes.
    """
    for entry in entries:
        if entry.name == new.name and Version(entry.version) == Version(new.version):
            if entry.sha256 != new.sha256:
                raise ValueError(
                    f"{new.name} {new.version} was published with other bytes ({entry.sha256[:12]}, now "
                    f"{new.sha256[:12]}): raise its version"
                )
            return list(entries)
    return sorted([*entries, new], key=lambda e: (e.name, Version(e.version)))


def write_index(entries: Iterable[Entry], folder: Path) -> Path:
    """Write ``index.json``, whole or not at all."""
    return write_json(folder / INDEX, {"schema": SCHEMA, "bundles": [asdict(e) for e in entries]})

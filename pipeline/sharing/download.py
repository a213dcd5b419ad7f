"""A file from an address, whole and with the bytes that were promised, or not at all.

What was received is kept under the promised hash, so that a broken download goes on where it stopped, also in
another process, and bytes of another file are never appended to.
"""

from __future__ import annotations

import errno
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from siamed.pipeline.experiments.files import sha256_of

__all__ = ["DownloadError", "Tell", "download", "fetch_text"]

Tell = Callable[[str, float, int], None]
_SCHEMES = ("http", "https", "file")
_BLOCK = 1 << 16
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_MAX_TEXT = 1 << 20
_MAX_BYTES = 500_000_000  # where nobody said how many there are
# What the other side or the way there does, and may not do the next time.
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DownloadError(RuntimeError):
    """A download that did not end with the promised bytes; the message says what to do."""


class _TooLarge(Exception):
    pass


def _open(url: str, headers: Mapping[str, str]) -> Any:
    if urlsplit(url).scheme not in _SCHEMES:
        raise ValueError(f"url must begin with one of {', '.join(_SCHEMES)}, got {url!r}")
    request = urllib.request.Request(url)
    for name, value in headers.items():
        # A token is for the server that was asked, not for the one that it sends us on to.
        add = request.add_unredirected_header if name == "Authorization" else request.add_header
        add(name, value)
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S)


def fetch_text(url: str, headers: Mapping[str, str] | None = None) -> str:
    """A short text, such as an index or a hash.

    Args:
        url: http, https or file.
        headers: of the request.

    Raises:
        DownloadError: if it cannot be had, or is longer than a megabyte.
        ValueError: if the address is of another kind.
    """
    try:
        with _open(url, headers or {}) as response:
            content = response.read(_MAX_TEXT + 1)
    except _BROKEN as error:
        raise DownloadError(f"{_shown(url)} cannot be read: {error}") from error
    if len(content) > _MAX_TEXT:
        raise DownloadError(f"{_shown(url)} is longer than {_MAX_TEXT} bytes, which no index is")
    return content.decode("utf-8")


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def download(
    url: str,
    folder: Path,
    sha256: str,
    size: int | None,
    tell: Tell | None = None,
    headers: Mapping[str, str] | None = None,
    pause_s: float = 1.0,
) -> Path:
    """Download a file into ``folder`` under its hash, going on with what is there of it.

    Args:
        url: http, https or file.
        folder: made where it is missing.
        sha256: of the whole file, in hexadecimal.
        size: of the whole file in bytes, or None where nobody said; more bytes than that are not received.
        tell: called with what is done, bytes so far and of how many (0 if unknown).
        headers: of the requests.
        pause_s: before the second attempt, in seconds; doubled before each further one.

    Returns:
        The file, which has the hash.

    Raises:
        DownloadError: if the connection breaks four times (what came is kept), or the bytes are others than
            promised (nothing is kept).
        OSError: if the disk is full (nothing is kept) or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, tell = folder / f"{sha256}.part", tell or (lambda what, done, total: None)
    problem: BaseException | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            if _receive(url, part, size, tell, headers or {}):
                return _checked(part, sha256, url)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DownloadError(f"{_shown(url)} answers {error.code} {error.reason}") from error
            problem = error
        except _BROKEN as error:
            problem = error
        except _TooLarge as error:
            part.unlink(missing_ok=True)
            raise DownloadError(f"{error}: nothing was kept. Ask whoever publishes it.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                part.unlink(missing_ok=True)
                raise OSError(
                    error.errno,
                    f"the disk is full, nothing was kept of the download: free some space in {folder}",
                ) from error
            raise
    received = part.stat().st_size if part.is_file() else 0
    raise DownloadError(
        f"{_shown(url)} broke off {_ATTEMPTS} times ({problem or 'too few bytes'}); {received} of "
        f"{size or 'unknown'} bytes are kept: run the command again to go on"
    )


def _receive(url: str, part: Path, size: int | None, tell: Tell, headers: Mapping[str, str]) -> bool:
    """Append what is missing; returns whether all of it has come."""
    done = part.stat().st_size if part.is_file() else 0
    if size is not None and done >= size:
        return True
    ranged = {"Range": f"bytes={done}-"} if done else {}
    try:
        response = _open(url, {**headers, **ranged})
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # more is here than there is: start over
        return False
    with response:
        goes_on = done > 0 and getattr(response, "status", None) == 206
        if done and urlsplit(url).scheme == "file":
            response.read(done)
            goes_on = True
        left = response.headers.get("Content-Length")
        total = size or (int(left) + (done if goes_on else 0) if left else 0)
        with open(part, "ab" if goes_on else "wb") as target:
            done = done if goes_on else 0
            while block := response.read(_BLOCK):
                done += len(block)
                if done > (size or _MAX_BYTES):
                    raise _TooLarge(f"{_shown(url)} sends more than {size or _MAX_BYTES} bytes")
                target.write(block)
                tell("downloading", done, total)
            target.flush()
            os.fsync(target.fileno())
    return done >= total if total else True


def _checked(part: Path, sha256: str, url: str) -> Path:
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DownloadError(
            f"{_shown(url)} has other bytes than promised (SHA-256 {found[:16]}..., promised "
            f"{sha256[:16]}...): nothing was unpacked. Ask whoever publishes it."
        )
    whole = part.with_suffix(".zip")
    os.replace(part, whole)
    return whole

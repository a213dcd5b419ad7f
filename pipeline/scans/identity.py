"""Ids that tell people apart without saying who they are.

``HMAC-SHA256(key, text)``, shortened to 16 hexadecimal digits (64 bits: a collision among a million ids has
a chance of about 3e-8). A plain hash would not do: patient ids are short numbers, and all of them can be
tried in seconds; without the key that is impossible [D-0013].

The key is ``$SIAMED_ID_KEY``, or a file ``siamed/id.key`` in the user's configuration folder, made on first
use and readable by that user alone. The same key gives the same ids on every machine.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from siamed.pipeline.errors import CaseError

KEY_VARIABLE = "SIAMED_ID_KEY"
_MIN_KEY_LENGTH = 8
_HEX_DIGITS = 16
# What may end a file name to say which contrast it holds: 001_T2_SPACE, 12-t1w, case_image, ...
_SEQUENCE_SUFFIX = re.compile(
    r"(?i)(^|[_\-. ]+)(t1w?|t2w?|(t2[_\-. ]?)?space|stir|flair|pdw?|dixon|image|img|mri?|tse)$"
)
# The entity that begins every file name of a BIDS data set: sub-01_ses-2_T2w.
_BIDS_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+(?=_|$)")
_FILE_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".hdr", ".img", ".dcm", ".ima")


def keyed_id(kind: str, text: str) -> str:
    """Return ``kind-`` and 16 hexadecimal digits that stand for ``text``.

    Args:
        kind: what the id names, "sub", "scan" or "study"; the same text gives unlike ids for unlike kinds.
        text: the identifying text; it cannot be recovered without the key.

    Raises:
        CaseError: code ``no-id-key`` if there is no key and none can be stored.
    """
    digest = hmac.new(_key(), f"{kind}\0{text}".encode(), sha256).hexdigest()
    return f"{kind}-{digest[:_HEX_DIGITS]}"


def file_stem(path: Path) -> str:
    """Return the file's name without its (possibly double) image ending."""
    name = path.name
    for ending in _FILE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def subject_from_stem(stem: str) -> str:
    """Return what a file's name says of the person, which may be nothing (``t2``).

    What BIDS names a subject (``sub-01`` of ``sub-01_ses-2_T2w``) [gorgolewski2016bids]; else the stem
    without the words that name a contrast, so that ``7_t1`` and ``7_t2_SPACE`` are one person.
    """
    if match := _BIDS_SUBJECT.match(stem):
        return match[0]
    while match := _SEQUENCE_SUFFIX.search(stem):
        stem = stem[: match.start()]
    return stem


def subject_from_file(path: Path) -> str:
    """Return the text that stands for the person in a file without a patient id.

    See :func:`subject_from_stem`; where the name says nothing (``anna/t2.nii.gz``), the folder's name.
    """
    return subject_from_stem(file_stem(path)) or path.resolve().parent.name


def key_file() -> Path:
    """Return where the per-user key lies: ``$XDG_CONFIG_HOME``, ``%APPDATA%`` or ``~/.config``."""
    base = os.environ.get("APPDATA") if sys.platform == "win32" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "siamed" / "id.key"


def _key() -> bytes:
    given = os.environ.get(KEY_VARIABLE)
    if given is not None:
        if len(given) < _MIN_KEY_LENGTH:
            raise CaseError(
                "no-id-key",
                f"${KEY_VARIABLE} must have at least {_MIN_KEY_LENGTH} characters, it has {len(given)}",
                hint=f"Set {KEY_VARIABLE} to a longer secret, or unset it to use a key file.",
            )
        return given.encode()
    path = key_file()
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise CaseError(
            "no-id-key",
            f"the key that hides patient ids can be neither read nor stored ({type(error).__name__})",
            hint=f"Set the environment variable {KEY_VARIABLE} to a secret of your own.",
        ) from error
    if len(key) < _MIN_KEY_LENGTH:
        raise CaseError(
            "no-id-key",
            f"the key file siamed/id.key holds {len(key)} characters, at least {_MIN_KEY_LENGTH} are needed",
            hint="Delete the file to have a new one made; ids will change.",
        )
    return key


def _make_key(path: Path) -> None:
    """Store a new random key with mode 600, whole or not at all, the first of several processes winning."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mkstemp gives mode 600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(draft, path)  # fails where another process was first: its key is the one
        except FileExistsError:
            pass
    finally:
        os.unlink(draft)

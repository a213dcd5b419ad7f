"""What every result has beside what was found: which scan, which weights, which software; and its JSON.

``*_mm`` are RAS+ millimeters (NIfTI's world). This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import re
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from siamed import __version__

if TYPE_CHECKING:
    from siamed.pipeline.scans import Scan

__all__ = [
    "BundleFacts",
    "CaseResult",
    "Point",
    "ScanFacts",
    "check_against",
    "scan_facts",
    "software",
    "tuples",
]

logger = logging.getLogger(__name__)

_NUMBERS_OVER_LINES = re.compile(r"\[\n\s*(-?\d[^\[\]\"{}]*?)\s*\]")
_SPACING_DECIMALS = 6

Point = tuple[float, float, float]


@dataclass(frozen=True)
class ScanFacts:
    """Which scan this is, without saying whose.

    Args:
        scan_id: keyed hash.
        subject_id: keyed hash.
        sequence: "T2", "T1", "T2_SPACE", ... or "unknown".
        shape: voxels along the file's own axes.
        spacing_mm: distance between voxels along the file's own axes.
        orientation: where the file's own axes grow, such as "PIL".
        modality: "MR" or "unknown".
        notes: what the reader chose and found unusual.
    """

    scan_id: str
    subject_id: str
    sequence: str
    shape: tuple[int, int, int]
    spacing_mm: Point
    orientation: str
    modality: str = "unknown"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleFacts:
    """Which weights spoke, and how far they are to be trusted.

    Args:
        name: the bundle's name.
        version: the bundle's version.
        sha256: of its weights.
        agreement: task -> quadratic kappa with a reader in cross-validation, as the bundle's metadata give
            it; empty where they do not.
        repeatability: task -> what 95 % of discs stay below in the difference of expected grades when they
            are scanned and graded twice on one day; empty where the bundle does not say.
    """

    name: str
    version: str
    sha256: str
    agreement: dict[str, float] = field(default_factory=dict)
    repeatability: dict[str, float] = field(default_factory=dict)


_R = TypeVar("_R", bound="CaseResult")


@dataclass(frozen=True)
class CaseResult:
    """What is said about one scan, as JSON and back: the base of every result.

    A result is a dataclass that derives from this one, names its schema, and knows how to check and to read
    what the schema describes.
    """

    SCHEMA: ClassVar[str]

    @classmethod
    def check(cls, data: Any) -> None:
        """Check what ``json.loads`` gives against the JSON schema and against itself.

        Raises:
            ValueError: the first breach, with the place where it is.
        """
        raise NotImplementedError

    @classmethod
    def _read(cls: type[_R], data: dict[str, Any]) -> _R:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As the schema has it: plain dicts, lists, strings and numbers, checked.

        Raises:
            ValueError: if the result breaks the schema or contradicts itself.
        """
        data = {"schema": self.SCHEMA, **_plain(asdict(self))}
        self.check(data)
        return data

    def to_json(self, indent: int | None = 1) -> str:
        """The text of ``result.json``; the same result gives the same text.

        Raises:
            ValueError: as :meth:`to_dict`.
        """
        return _json_text(self.to_dict(), indent)

    @classmethod
    def from_dict(cls: type[_R], data: dict[str, Any]) -> _R:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: if the data break the schema or contradict themselves.
        """
        cls.check(data)
        return cls._read(data)

    @classmethod
    def from_json(cls: type[_R], text: str) -> _R:
        """Read the text of a ``result.json``.

        Raises:
            ValueError: if it is not JSON, or as :meth:`from_dict`.
        """
        return cls.from_dict(json.loads(text))


def scan_facts(scan: Scan) -> ScanFacts:
    """What a result says of the scan it is about."""
    shape = scan.image.shape[1:]
    x, y, z = (round(float(s), _SPACING_DECIMALS) for s in scan.spacing_mm)
    return ScanFacts(
        scan_id=scan.scan_id,
        subject_id=scan.subject_id,
        sequence=scan.sequence,
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing_mm=(x, y, z),
        orientation=scan.orientation,
        modality=scan.modality,
        notes=tuple(scan.notes),
    )


def software() -> dict[str, str]:
    """Package -> version, of those that decide what comes out."""
    versions = {"siamed": __version__, "python": platform.python_version()}
    for name in ("torch", "monai"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that pip does not know
            logger.debug("the version of %s is not known", name)
    return versions


def _json_text(data: dict[str, Any], indent: int | None = 1) -> str:
    """JSON with points on one line; the same data give the same text."""
    text = json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)
    # No string of JSON holds a line break, so only lists of numbers are touched.
    return _NUMBERS_OVER_LINES.sub(
        lambda match: "[" + ", ".join(n.strip() for n in match[1].split(",")) + "]", text
    )


def _plain(value: Any) -> Any:
    """Dicts with names as keys, lists instead of tuples, all the way down."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def tuples(value: Any) -> Any:
    """Tuples instead of lists, all the way down."""
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def check_against(data: Any, schema_file: str, name: str) -> None:
    """Check data against a JSON schema of this package.

    Args:
        data: what ``json.loads`` gives.
        schema_file: beside this module.
        name: of the schema, for the message.

    Raises:
        ValueError: the first breach, with the place where it is; also for a number that is not finite.
    """
    from jsonschema.exceptions import best_match

    _check_finite(data, "$")
    error = best_match(_validator(schema_file).iter_errors(data))
    if error is not None:
        raise ValueError(f"result breaks {name} at {error.json_path}: {error.message}")


def _check_finite(value: Any, place: str) -> None:
    # JSON has no NaN, but Python's reader and writer do, and a JSON schema lets it pass every bound.
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"result must be finite at {place}, got {value}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _check_finite(item, f"{place}.{key}")


@cache
def _validator(schema_file: str) -> Any:
    from jsonschema import Draft202012Validator

    text = files("siamed.pipeline").joinpath(schema_file).read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))

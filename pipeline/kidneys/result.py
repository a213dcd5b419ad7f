"""What siamed says about the kidneys of one scan: the schema ``siamed/segmentation/1``.

Fields and units: ``segmentation-1.schema.json`` in :mod:`siamed.pipeline`. This module imports neither torch
nor NumPy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from siamed.pipeline.facts import BundleFacts, Point, ScanFacts, check_against, json_text, plain, tuples

__all__ = ["SCHEMA", "KidneyResult", "Structure"]

SCHEMA = "siamed/segmentation/1"
_SCHEMA_FILE = "segmentation-1.schema.json"


@dataclass(frozen=True)
class Structure:
    """One segmented structure.

    Args:
        name: "right kidney" or "left kidney".
        label: its value in the label map.
        volume_ml: of all its voxels.
        center_mm: its center of mass, RAS+.
        slices: first and last index along the file's own axis that runs nearest to head and feet.
        touches_edge: it reaches the end of the scan, so that its volume may be a part.
    """

    name: str
    label: int
    volume_ml: float
    center_mm: Point
    slices: tuple[int, int]
    touches_edge: bool


@dataclass(frozen=True)
class KidneyResult:
    """Everything said about the kidneys of one scan.

    Args:
        scan: the scan.
        bundles: that were used.
        outcome: see :data:`siamed.transforms.split_kidneys.OUTCOMES`.
        structures: the right kidney, then the left one, as far as they were found.
        warnings: what a reader must know before using the rest.
        software: package -> version.
        organ: what was looked for.
    """

    scan: ScanFacts
    bundles: tuple[BundleFacts, ...]
    outcome: str
    structures: tuple[Structure, ...]
    warnings: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)
    organ: str = "kidneys"

    def to_dict(self) -> dict[str, Any]:
        """As the schema has it: plain dicts, lists, strings and numbers, checked.

        Raises:
            ValueError: if the result breaks the schema or contradicts itself.
        """
        data = {"schema": SCHEMA, **plain(asdict(self))}
        _check(data)
        return data

    def to_json(self, indent: int | None = 1) -> str:
        """The text of ``result.json``; the same result gives the same text.

        Raises:
            ValueError: as :meth:`to_dict`.
        """
        return json_text(self.to_dict(), indent)

    @classmethod
    def from_json(cls, text: str) -> KidneyResult:
        """Read the text of a ``result.json``.

        Raises:
            ValueError: if it is not JSON, breaks the schema or contradicts itself.
        """
        data = json.loads(text)
        _check(data)
        return cls(
            scan=ScanFacts(**{k: tuples(v) for k, v in data["scan"].items()}),
            bundles=tuple(BundleFacts(**bundle) for bundle in data["bundles"]),
            outcome=data["outcome"],
            structures=tuple(Structure(**{k: tuples(v) for k, v in s.items()}) for s in data["structures"]),
            warnings=tuple(data["warnings"]),
            software=dict(data["software"]),
            organ=data["organ"],
        )


def _check(data: Any) -> None:
    check_against(data, _SCHEMA_FILE, SCHEMA)
    names = [structure["name"] for structure in data["structures"]]
    if len(set(names)) < len(names):
        raise ValueError(f"structures must not give a name twice, got {names}")
    if (data["outcome"] == "one_kidney") != (len(names) == 1):
        raise ValueError(f"outcome must go with the structures {names}, got {data['outcome']!r}")

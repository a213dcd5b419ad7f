"""What siamed says about the kidneys of one scan: the schema ``siamed/segmentation/1``.

Fields and units: ``segmentation-1.schema.json`` in :mod:`siamed.pipeline`. This module imports neither torch
nor NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from siamed.pipeline.facts import BundleFacts, CaseResult, Point, ScanFacts, check_against, tuples

__all__ = ["KidneyResult", "Structure"]

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
class KidneyResult(CaseResult):
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

    SCHEMA = "siamed/segmentation/1"

    scan: ScanFacts
    bundles: tuple[BundleFacts, ...]
    outcome: str
    structures: tuple[Structure, ...]
    warnings: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)
    organ: str = "kidneys"

    @classmethod
    def check(cls, data: Any) -> None:
        """Check what ``json.loads`` gives against the JSON schema and against itself.

        Beyond the schema: no structure is given twice, and a single one goes with the outcome ``one_kidney``,
        beside which pieces too small for a kidney may make a second.

        Raises:
            ValueError: the first breach, with the place where it is.
        """
        check_against(data, _SCHEMA_FILE, cls.SCHEMA)
        names = [structure["name"] for structure in data["structures"]]
        if len(set(names)) < len(names):
            raise ValueError(f"structures must not give a name twice, got {names}")
        if not names or (len(names) == 1 and data["outcome"] != "one_kidney"):
            raise ValueError(f"outcome must go with the structures {names}, got {data['outcome']!r}")

    @classmethod
    def _read(cls, data: dict[str, Any]) -> KidneyResult:
        return cls(
            scan=ScanFacts(**{k: tuples(v) for k, v in data["scan"].items()}),
            bundles=tuple(BundleFacts(**bundle) for bundle in data["bundles"]),
            outcome=data["outcome"],
            structures=tuple(Structure(**{k: tuples(v) for k, v in s.items()}) for s in data["structures"]),
            warnings=tuple(data["warnings"]),
            software=dict(data["software"]),
            organ=data["organ"],
        )

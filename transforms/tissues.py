"""Tissues of an abdominal CT and the Hounsfield units they may have.

Ranges hold what textbooks and scanners differ by; contrast agents change some of them. A map of tissues is
``uint8``, one of the numbers of :data:`TISSUES` a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLUSTERS", "KIDNEY", "PHASES", "TISSUES", "Tissue", "tissue_number"]

PHASES = ("native", "arterial", "portal", "excretory")


@dataclass(frozen=True)
class Tissue:
    """One tissue.

    Args:
        name: of the tissue.
        hu: (low, high) of its mean without contrast agent.
        texture_hu: (low, high) standard deviation of what is smooth and belongs to it.
        enhanced: phase -> (low, high) of its mean, where contrast agent changes it.
    """

    name: str
    hu: tuple[float, float]
    texture_hu: tuple[float, float] = (0.0, 8.0)
    enhanced: tuple[tuple[str, tuple[float, float]], ...] = ()

    def range_hu(self, phase: str) -> tuple[float, float]:
        """(low, high) of its mean in a phase."""
        return dict(self.enhanced).get(phase, self.hu)


def _phases(
    arterial: tuple[float, float], portal: tuple[float, float], excretory: tuple[float, float]
) -> tuple[tuple[str, tuple[float, float]], ...]:
    return (("arterial", arterial), ("portal", portal), ("excretory", excretory))


TISSUES = (
    Tissue("air", (-1000, -990), (0, 2)),
    Tissue("skin", (0, 60)),
    Tissue("subcutaneous fat", (-120, -85)),
    Tissue("muscle", (35, 75), (4, 14)),
    Tissue("visceral fat", (-120, -75), (3, 14)),
    Tissue("spongy bone", (90, 320), (20, 70)),
    Tissue("cortical bone", (350, 1100), (30, 120)),
    Tissue("disc", (50, 120)),
    Tissue("spinal canal", (5, 50)),
    Tissue("lung", (-920, -650), (20, 90)),
    Tissue("liver", (25, 75), (2, 10), _phases((50, 100), (80, 140), (70, 120))),
    Tissue("spleen", (35, 65), (2, 12), _phases((80, 160), (90, 150), (75, 120))),
    Tissue("renal cortex", (20, 50), (2, 12), _phases((110, 240), (120, 220), (90, 180))),
    Tissue("renal medulla", (15, 50), (2, 14), _phases((40, 120), (100, 220), (90, 200))),
    Tissue("renal tumor", (10, 60), (5, 30), _phases((20, 160), (30, 150), (20, 120))),
    Tissue("renal pelvis", (-10, 25), (0, 10), _phases((-10, 60), (0, 120), (150, 900))),
    Tissue("artery", (30, 60), (0, 8), _phases((180, 420), (110, 190), (80, 150))),
    Tissue("vein", (30, 60), (0, 8), _phases((40, 150), (110, 200), (80, 150))),
    Tissue("bowel wall", (20, 60), (2, 12), _phases((40, 120), (50, 120), (40, 100))),
    Tissue("bowel fluid", (-10, 60), (2, 15)),
    Tissue("gas", (-1000, -850), (0, 20)),
    Tissue("oral contrast", (120, 700), (10, 60)),
    Tissue("stool", (-150, 120), (20, 80)),
    Tissue("table", (-700, 200), (0, 40)),
    Tissue("bile or cyst", (-10, 25), (0, 6)),
    Tissue("other soft tissue", (20, 70), (3, 15), _phases((30, 130), (50, 140), (40, 110))),
    *(Tissue(f"cluster {n}", (-130, 200), (3, 30)) for n in range(1, 9)),
)
"""The last eight are clusters of an MR scan's gray values: any tissue between fat and bone."""


def tissue_number(name: str) -> int:
    """The number of a tissue in a map.

    Raises:
        ValueError: if there is none of this name.
    """
    for number, tissue in enumerate(TISSUES):
        if tissue.name == name:
            return number
    raise ValueError(f"name must be one of {[tissue.name for tissue in TISSUES]}, got {name!r}")


KIDNEY = tuple(tissue_number(name) for name in ("renal cortex", "renal medulla", "renal tumor"))
"""What a label map calls kidney: parenchyma and tumor, as KiTS19 does; its pelvis is none of it."""

CLUSTERS = tuple(tissue_number(f"cluster {n}") for n in range(1, 9))

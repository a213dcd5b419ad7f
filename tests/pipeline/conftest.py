"""A scan with five bodies whose place is known by construction, and networks that know the answer.

World: mm RAS+. Bodies are boxes, 34 mm from anterior to posterior and 26 mm high, 36 mm apart; L1 on top, S1
at the bottom... as far as the fake detector goes: what is tested is everything around the networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

LEVELS = ("L2", "L3", "L4", "L5", "S1")
DISCS = ("L2-L3", "L3-L4", "L4-L5", "L5-S1")
TOP_MM = 72.0
STEP_MM = 36.0
ANTERIOR_MM, POSTERIOR_MM, HEIGHT_MM = 20.0, -14.0, 26.0
SHAPE_RAS = (7, 160, 220)  # right-left, anterior-posterior, superior-inferior
SPACING_RAS = (5.0, 1.0, 1.0)
CENTER_MM = np.array([2.0, -10.0, -15.0])


def corners_mm(number: int, x_mm: float) -> np.ndarray:
    """Corners of body ``number`` in the plane at ``x_mm``: AS, PS, PI, AI."""
    top = TOP_MM - STEP_MM * number
    low = top - HEIGHT_MM
    front, back = ANTERIOR_MM, POSTERIOR_MM
    return np.array([[x_mm, front, top], [x_mm, back, top], [x_mm, back, low], [x_mm, front, low]])


def spine_array() -> tuple[np.ndarray, np.ndarray]:
    """The scan in RAS order and its affine: bright bodies, darker discs, a bright line for the canal."""
    affine = np.diag([*SPACING_RAS, 1.0])
    affine[:3, 3] = CENTER_MM - affine[:3, :3] @ ((np.array(SHAPE_RAS) - 1) / 2)
    grid = np.indices(SHAPE_RAS).reshape(3, -1)
    _, y, z = (affine[:3, :3] @ grid + affine[:3, 3:]).reshape(3, *SHAPE_RAS)
    array = np.full(SHAPE_RAS, 40.0)
    array += 12 * np.sin(y / 6) * np.cos(z / 7)
    inside = (y < ANTERIOR_MM) & (y > POSTERIOR_MM)
    for number in range(len(LEVELS)):
        top = TOP_MM - STEP_MM * number
        array[inside & (z < top) & (z > top - HEIGHT_MM)] = 150.0
        if number + 1 < len(LEVELS):
            array[inside & (z <= top - HEIGHT_MM) & (z >= top - STEP_MM)] = 90.0 - 15 * number
    array[(y < -22) & (y > -34)] = 230.0
    return array.astype(np.float32), affine


def write_scan(path: Path, codes: str = "PIR") -> Path:
    """Write the scan as NIfTI with its axes in another order and direction."""
    import nibabel
    from nibabel.orientations import axcodes2ornt, ornt_transform

    image = nibabel.Nifti1Image(*spine_array())
    turn = ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes)))
    nibabel.save(image.as_reoriented(turn), path)
    return path


class KnowingDetector:
    """Answers with the true bodies; the topmost is said to be cut by the edge."""

    def __init__(self, levels: tuple[str | None, ...] = LEVELS, warnings: tuple[str, ...] = ()) -> None:
        self.levels, self.warnings, self.calls = levels, warnings, 0

    def __call__(self, view: Any) -> Any:
        from siamed.pipeline.detection import Column, Disc, Vertebra

        self.calls += 1
        affine = np.asarray(view.affine, float)
        bodies = []
        for number, level in enumerate(self.levels):
            seen = range(1, view.shape[1] - 1)
            planes = {d: corners_mm(number, affine[0, 0] * d + affine[0, 3]) for d in seen}
            bodies.append(Vertebra(level, 0.9, 0.97, number == 0, planes, view.shape[1] // 2))
        discs = []
        for i, (upper, lower) in enumerate(zip(self.levels[:-1], self.levels[1:], strict=True)):
            name = f"{upper}-{lower}" if upper and lower else None
            center = (bodies[i].corners_mm[2:].mean(0) + bodies[i + 1].corners_mm[:2].mean(0)) / 2
            discs.append(Disc(i, i + 1, name, center))
        return Column(tuple(bodies), tuple(discs), self.warnings)


class EmptyDetector:
    """Finds nothing."""

    def __call__(self, view: Any) -> Any:
        from siamed.pipeline.detection import Column

        return Column((), (), ("No vertebra was found in this scan.",))


class CountingGrader:
    """Grades the n-th disc n + 1, the first one with little certainty."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, volumes: Any) -> list[dict[str, Any]]:
        self.shapes.append(tuple(volumes.shape))
        answers = []
        for n in range(volumes.shape[0]):
            top = 0.4 if n == 0 else 0.8
            rest = (1 - top) / 4
            p = {str(g): top if g == n + 2 else rest for g in range(1, 6)}
            pfirrmann = {
                "grade": n + 2,
                "probabilities": p,
                "expected": sum(int(g) * q for g, q in p.items()),
                "likely": [n + 2] if n else [1, 2, 3],
            }
            herniation = {
                "grade": n % 2,
                "probabilities": {"0": 0.9 - 0.8 * (n % 2), "1": 0.1 + 0.8 * (n % 2)},
            }
            herniation["expected"] = herniation["probabilities"]["1"]
            answers.append({"pfirrmann": pfirrmann, "herniation": herniation})
        return answers


@pytest.fixture(autouse=True)
def own_id_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids come from a key of the tests: the user's is neither read nor made."""
    monkeypatch.setenv("SIAMED_ID_KEY", "key-of-the-tests")


@pytest.fixture
def spine() -> Any:
    """This module, for the known numbers and the fakes in it."""
    import types

    return types.SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})


@pytest.fixture
def reader() -> Any:
    """A reader whose networks know the answer."""
    from siamed.pipeline.facts import BundleFacts
    from siamed.pipeline.spine import SpineReader

    bundles = [
        BundleFacts("detection_of_tests", "0.1.0", "a" * 64),
        BundleFacts("grading_of_tests", "0.2.0", "b" * 64, {"pfirrmann": 0.79, "herniation": 0.11}),
    ]
    return SpineReader(KnowingDetector(), CountingGrader(), bundles)


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    """The scan as a NIfTI file, sagittal slices counted from the right."""
    return write_scan(tmp_path / "lumbar_t2.nii.gz")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, reader: Any) -> list[tuple]:
    """Put the knowing networks behind the commands; gives what each loading asked for."""
    from siamed.pipeline.spine import SpineReader

    asked: list[tuple] = []

    def load(
        detection: str, grading: str | None, device: str, encoding: str | None = None, hotspot_views: int = 0
    ) -> Any:
        asked.append((detection, grading, device) if encoding is None else (detection, encoding, device))
        return reader

    monkeypatch.setattr(SpineReader, "from_bundles", load)
    return asked

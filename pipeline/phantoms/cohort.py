"""A longitudinal cohort of phantoms: the setting of [jamaludin2017ssl, Sec. 3.1] with no data.

Persons with vertebral bodies of their own come two or three times, 8 to 12 years apart, first on a 1.0 T
scanner (coarser, noisier), later on one of 1.5 T. Their discs age: a disc's Pfirrmann grade rises by one
between two visits or stays. Some persons are twins and share a family. Each visit is a T2 scan, of which the
volumes are cut at the corners that the phantom knows, at half the papers' resolution.

For demos and tests of the whole path, never for a claim about patients.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .lumbar import LumbarPhantom, lumbar_phantom

__all__ = ["Visit", "cohort_visits", "write_cohort"]

_LOOK = {  # field strength in tesla -> sampling and noise
    1.0: {"size": (310, 310), "spacing_mm": (1.0, 1.0), "noise": 0.045},
    1.5: {"size": (378, 378), "spacing_mm": (0.82, 0.82), "noise": 0.025},
}
_SLICES, _SLICE_MM = 11, 4.4
_LEVELS = ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2")
_WORSE = 0.4  # chance of a disc to be a grade worse at the next visit
_FIELD = {"body": (112, 112), "disc": (56, 112)}  # half of 224 x 224 and 112 x 224
_MARGIN = (12, 24)


@dataclass(frozen=True)
class Visit:
    """One scan of one person."""

    subject_id: str
    family_id: str
    scan_id: str
    year: int
    field_strength_t: float
    phantom: LumbarPhantom


def cohort_visits(subjects: int, seed: int = 0, twin_share: float = 0.2) -> Iterator[Visit]:
    """Draw the cohort, visit by visit.

    Args:
        subjects: persons; the first of them are pairs of twins.
        seed: of the cohort.
        twin_share: share of the persons who have their twin in the cohort.

    Raises:
        ValueError: if subjects is not positive, or the share not in [0, 1].

    Randomness: all from ``seed``.
    """
    if subjects < 1 or not 0 <= twin_share <= 1:
        raise ValueError(
            f"subjects must be at least 1 and twin_share in [0, 1], got {subjects} and {twin_share}"
        )
    twins = 2 * int(twin_share * subjects / 2)
    for number in range(subjects):
        paired = number < twins
        anatomy = 1000 * (seed + 1) + (number - number % 2 if paired else number)
        rng = np.random.default_rng([seed, number])
        grades, year = _first_grades(rng), int(rng.integers(1996, 2003))
        for visit in range(int(rng.integers(2, 4))):
            if visit:
                year += int(rng.integers(8, 13))
                grades = {name: min(5, grade + int(rng.random() < _WORSE)) for name, grade in grades.items()}
            tesla = 1.5 if visit else 1.0
            look: dict[str, Any] = dict(_LOOK[tesla])
            yield Visit(
                subject_id=f"p{number:03d}",
                family_id=f"twins{number // 2:03d}" if paired else "",
                scan_id=f"p{number:03d}_visit{visit}",
                year=year,
                field_strength_t=tesla,
                phantom=lumbar_phantom(
                    anatomy, "T2", _SLICES, slice_mm=_SLICE_MM, levels=_LEVELS, grades=grades, visit=visit,
                    twin=number % 2 if paired else 0, **look,
                ),
            )  # fmt: skip


def _first_grades(rng: np.random.Generator) -> dict[str, int]:
    """Lower discs are worse, as in patients."""
    first = _LEVELS.index("S1")
    names = [f"{a}-{b}" for a, b in zip(_LEVELS[:first], _LEVELS[1 : first + 1], strict=True)]
    low, high = [0.1, 0.3, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.08, 0.02]
    return {name: int(rng.choice([1, 2, 3, 4, 5], p=low if i >= 4 else high)) for i, name in enumerate(names)}


def write_cohort(
    folder: str | Path, subjects: int = 40, seed: int = 0, twin_share: float = 0.2, folds: int = 5
) -> Path:
    """Write a cohort as the pretraining and the grader take it.

    Args:
        folder: made if missing. Gets ``volumes/`` (bodies of T12 to S1 as NIfTI and ``volumes.csv``),
            ``crops.npz`` (graded discs), ``folds.json`` (by family) and ``visits.csv``.
        subjects: see :func:`cohort_visits`.
        seed: see there.
        twin_share: see there.
        folds: of the split.

    Returns:
        The folder.
    """
    from tqdm import tqdm

    from siamed.pipeline.datasets.splits import make_folds
    from siamed.pipeline.experiments.files import write_json
    from siamed.pipeline.grading.crops import DiscCrops
    from siamed.pipeline.grading.tasks import MISSING
    from siamed.pipeline.pairs.prepare import save_volume
    from siamed.pipeline.pairs.volumes import VolumeTable
    from siamed.pipeline.tasks import SPIDER

    folder = Path(folder)
    cut = _Cutter()
    rows: list[Sequence[str]] = []
    discs: list[tuple[Visit, int, int, np.ndarray]] = []
    visits: list[tuple[object, ...]] = []
    every = cohort_visits(subjects, seed, twin_share)
    for visit in tqdm(every, desc="visits", mininterval=5.0, disable=not sys.stderr.isatty()):
        visits.append((visit.subject_id, visit.family_id, visit.scan_id, visit.year, visit.field_strength_t))
        for level, volume in cut.bodies(visit.phantom):
            path = Path(visit.scan_id, f"{level}.nii.gz")
            digest = save_volume(folder / "volumes" / path, volume)
            own = (visit.subject_id, visit.family_id, visit.scan_id, str(visit.year), "T2")
            rows.append((*own, level, path.as_posix(), digest))
        for number, grade, volume in cut.discs(visit.phantom):
            discs.append((visit, number, grade, volume.as_tensor()[0].numpy().astype(np.float16)))
    VolumeTable.from_rows(folder / "volumes", rows).write()
    grades = np.full((len(discs), len(SPIDER)), MISSING, np.int16)
    tasks = tuple(task.name for task in SPIDER)
    grades[:, tasks.index("pfirrmann")] = [grade for _, _, grade, _ in discs]
    digest = hashlib.sha256(repr(visits).encode()).hexdigest()
    DiscCrops(
        images=np.stack([image for *_, image in discs]),
        grades=grades,
        subjects=np.array([visit.subject_id for visit, *_ in discs]),
        cases=np.array([visit.scan_id for visit, *_ in discs]),
        sequences=np.array(["T2"] * len(discs)),
        discs=np.array([number for _, number, _, _ in discs], np.int16),
        tasks=tasks,
        info={"phantom_cohort": {"subjects": subjects, "seed": seed}, "visits_sha256": digest},
    ).save(folder / "crops.npz")
    families = {str(subject): str(family or subject) for subject, family, *_ in visits}
    split = make_folds(
        [visit.subject_id for visit, *_ in discs], [grade for _, _, grade, _ in discs], folds, seed, families
    )
    rule = f"stratified by Pfirrmann grade, families together, seed {seed}"
    write_json(folder / "folds.json", {"unit": "person", "rule": rule, "folds": split})
    with (folder / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject_id", "family_id", "scan_id", "year", "field_strength_t"])
        table.writerows(visits)
    return folder


class _Cutter:
    """Volumes of nine slices, at corners that are known."""

    def __init__(self) -> None:
        from siamed.transforms.extract_disc import DISC_WIDTH_FRACTION, ExtractDisc
        from siamed.transforms.extract_vertebral_body import BODY_WIDTH_FRACTION, ExtractVertebralBody

        sizes = {
            what: (9, field[0] + 2 * _MARGIN[0], field[1] + 2 * _MARGIN[1]) for what, field in _FIELD.items()
        }
        share = _FIELD["body"][1] / sizes["body"][2]
        self.body = ExtractVertebralBody(sizes["body"], BODY_WIDTH_FRACTION * share)
        self.disc = ExtractDisc(sizes["disc"], DISC_WIDTH_FRACTION * share)

    def bodies(self, phantom: LumbarPhantom) -> Iterator[tuple[str, Any]]:
        """Level and volume of T12 to S1."""
        from siamed.pipeline.pairs.volumes import BODY_LEVELS

        image, names = self._image(phantom), list(phantom.corners_mm)
        corners = list(phantom.corners_mm.values())
        for i, name in enumerate(names):
            if name in BODY_LEVELS and _in_view(phantom, corners[i]):
                yield name, self.body(image, corners[i], corners[max(i - 1, 0) : i] + corners[i + 1 : i + 2])

    def discs(self, phantom: LumbarPhantom) -> Iterator[tuple[int, int, Any]]:
        """Number from the lowest up, Pfirrmann grade and volume of the discs below T12."""
        image = self._image(phantom)
        for number, (name, grade) in enumerate(reversed(phantom.grades.items()), start=1):
            upper, lower = name.split("-")
            if upper != "T11" and _in_view(phantom, phantom.corners_mm[upper]):
                yield number, grade, self.disc(image, phantom.corners_mm[upper], phantom.corners_mm[lower])

    @staticmethod
    def _image(phantom: LumbarPhantom) -> Any:
        import torch
        from monai.data import MetaTensor

        return MetaTensor(torch.from_numpy(phantom.image)[None], affine=torch.from_numpy(phantom.affine))


def _in_view(phantom: LumbarPhantom, corners_mm: np.ndarray) -> bool:
    rows = (phantom.affine[2, 3] - corners_mm[:, 2]) / -phantom.affine[2, 1]
    return bool((rows >= 0).all() and (rows < phantom.image.shape[1]).all())

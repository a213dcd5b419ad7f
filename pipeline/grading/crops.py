"""Disc crops, cut once by the detector and the extraction, kept in one file for all trainings.

A crop is a disc volume of :class:`siamed.transforms.ExtractDisc` at the same scale but with a margin around
it, so that a training can turn and shift its view without running out of scan [D-0037]. The file is an
``.npz`` without pickles: ``images (N, D, H, W)`` float16 in [0, 1], ``grades (N, T)`` as their standards
count them and -1 where missing, ``subjects``, ``cases``, ``sequences``, ``discs`` (from the lowest up),
``tasks``, and ``info`` (JSON: hash of the manifest, the detector, how many graded discs there are).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from siamed.pipeline.experiments.files import read_npz, write_npz

from .tasks import MISSING, TASKS

__all__ = ["DiscCrops", "cached_crops"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiscCrops:
    """Crops of graded discs; all arrays have one entry a disc.

    Attributes:
        images: ``(N, D, H, W)`` float16.
        grades: ``(N, T)`` int, -1 where missing.
        subjects: the person of each disc.
        cases: the scan of each disc.
        sequences: "T2", "T2_SPACE".
        discs: number of the disc, counted from the lowest up.
        tasks: names of the columns of ``grades``.
        info: where the crops come from.
    """

    images: np.ndarray
    grades: np.ndarray
    subjects: np.ndarray
    cases: np.ndarray
    sequences: np.ndarray
    discs: np.ndarray
    tasks: tuple[str, ...]
    info: Mapping[str, Any]

    def __post_init__(self) -> None:
        count = len(self.images)
        for name in ("grades", "subjects", "cases", "sequences", "discs"):
            if len(getattr(self, name)) != count:
                raise ValueError(
                    f"{name} must have one entry a crop, got {len(getattr(self, name))} for {count}"
                )
        if self.images.ndim != 4:
            raise ValueError(f"images must be (N, D, H, W), got shape {self.images.shape}")
        if self.grades.ndim != 2 or self.grades.shape[1] != len(self.tasks):
            raise ValueError(f"grades must be (N, {len(self.tasks)}), got shape {self.grades.shape}")
        for column, task in enumerate(self.tasks):
            wrong = set(self.grades[:, column].tolist()) - {MISSING, *TASKS[task]}
            if wrong:
                raise ValueError(f"{task} must be one of {TASKS[task]} or {MISSING}, got {sorted(wrong)}")

    def __len__(self) -> int:
        return len(self.images)

    def of(self, subjects: Sequence[str], sequences: Sequence[str]) -> DiscCrops:
        """The crops of some subjects in some sequences, in the order they have here."""
        kept = np.isin(self.subjects, [str(s) for s in subjects]) & np.isin(self.sequences, list(sequences))
        names = ("images", "grades", "subjects", "cases", "sequences", "discs")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all."""
        content = {
            "images": self.images.astype(np.float16),
            "grades": self.grades.astype(np.int16),
            "subjects": self.subjects.astype(str),
            "cases": self.cases.astype(str),
            "sequences": self.sequences.astype(str),
            "discs": self.discs.astype(np.int16),
            "tasks": np.array(self.tasks),
            "info": np.array(json.dumps(dict(self.info))),
        }
        return write_npz(path, content)

    @classmethod
    def load(cls, path: str | Path) -> DiscCrops:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if the file is no such file.
        """
        arrays: dict[str, Any] = {**read_npz(path, [entry.name for entry in fields(cls)], "disc crops")}
        arrays["tasks"] = tuple(arrays["tasks"].tolist())
        arrays["info"] = json.loads(str(arrays["info"]))
        return cls(**arrays)


def cached_crops(
    crops_file: str | Path, dataset_dir: str | Path | None, detection_bundle: str | Path
) -> DiscCrops:
    """The crops of a file; made first, by detector and extraction, where there is no such file.

    Args:
        crops_file: the ``.npz``.
        dataset_dir: SPIDER, as published or as the working copy; only needed where the file is to be made.
        detection_bundle: name or folder of the detector's bundle.

    Raises:
        ValueError: if there is no such file and no data set to make it from.
    """
    if not Path(crops_file).is_file():
        if not dataset_dir:
            raise ValueError(
                f"crops_file must exist where dataset_dir is not given, got {Path(crops_file).name!r}"
            )
        from .prepare import prepare_crops

        log.info("%s is made first: every scan goes through the detector, once", Path(crops_file).name)
        prepare_crops(dataset_dir, detection_bundle).save(crops_file)
    return DiscCrops.load(crops_file)

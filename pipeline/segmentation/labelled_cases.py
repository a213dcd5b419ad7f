"""Scans with the truth about one structure, to score a network by."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage
from tqdm import tqdm

from siamed.pipeline.datasets.image_label_folder import segmentation_manifest

__all__ = ["LabelledCase", "labelled_cases"]


@dataclass(frozen=True)
class LabelledCase:
    """One scan and its truth.

    Args:
        case_id: of the scan.
        subject_id: of the patient.
        origin: what kind of scan it is.
        image: ``(1, I, J, K)``.
        truth: ``(I, J, K)`` bool, the structure.
    """

    case_id: str
    subject_id: str
    origin: str
    image: MetaTensor = field(repr=False)
    truth: np.ndarray = field(repr=False)

    @classmethod
    def read(
        cls, case_id: str, subject_id: str, image: Path, label: Path, labels: Sequence[int]
    ) -> LabelledCase:
        """Read a scan and its label map; ``labels`` are the values that belong to the structure."""
        load = LoadImage(ensure_channel_first=True)
        truth = np.isin(np.asarray(load(label)[0]), labels)
        return cls(case_id, subject_id, "scan", load(image), truth)


def labelled_cases(
    dataset_dir: str | Path, labels: Sequence[int], subjects: Collection[str] | None = None
) -> Iterator[LabelledCase]:
    """Scans with label maps, one at a time.

    Args:
        dataset_dir: see :func:`~siamed.pipeline.datasets.image_label_folder.segmentation_manifest`.
        labels: values of the label maps that belong to the structure.
        subjects: whose scans are wanted; None for all.
    """
    manifest = segmentation_manifest(dataset_dir)
    rows = [row for row in manifest.scans if row.label and (subjects is None or row.subject_id in subjects)]
    for row in tqdm(rows, desc="scans", mininterval=5.0, disable=not sys.stderr.isatty()):
        image, label = manifest.root / row.image, manifest.root / row.label
        yield LabelledCase.read(row.case_id, row.subject_id, image, label, labels)

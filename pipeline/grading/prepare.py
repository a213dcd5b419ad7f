"""Cut the graded discs of a data set once, for all trainings.

    python -m siamed.pipeline.grading.prepare --dataset_dir FOLDER --out crops.npz

Every scan of the sequences asked for, T2 and T2 SPACE by default, goes through the detector; its discs are
counted from the lowest up and matched to the gradings by that number. Which graded discs were not found is
counted in the file and logged: they are in no figure.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from siamed.pipeline.bundles import bundle_info
from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.datasets.spider import middle_slice_copies, spider_manifest
from siamed.pipeline.detection import VertebraDetector
from siamed.pipeline.detection.training_data import canonical_image
from siamed.pipeline.detection.vertebra import Column
from siamed.pipeline.tasks import SPIDER
from siamed.transforms.extract_disc import ExtractDisc
from siamed.transforms.extract_volume import VIEW_MARGIN_PX

from .crops import DiscCrops
from .tasks import MISSING

__all__ = ["DETECTION_BUNDLE", "SEQUENCES", "disc_numbers", "main", "prepare_crops"]

log = logging.getLogger(__name__)

DETECTION_BUNDLE = "spine_mr_vertebra_detection"
SEQUENCES = ("T2", "T2_SPACE")
_UPWARD = ("L5", "L4", "L3", "L2", "L1", "T13", "T12", "T11", "T10", "T9", "T8")


def disc_numbers(column: Column) -> dict[int, int]:
    """Index of a disc in the column -> its number from the lowest up, as SPIDER counts.

    Names do the counting, so that a vertebra that was missed does not shift the numbers; a disc without a
    name has no number. A sixth lumbar body makes the lowest disc L6-S1; T13 counts only where the column
    has one.
    """
    names = {vertebra.level for vertebra in column.vertebrae}
    upward = [name for name in _UPWARD if name != "T13" or "T13" in names]
    if "L6" in names:
        upward.insert(0, "L6")
    numbers = {}
    for index, disc in enumerate(column.discs):
        level = column.vertebrae[disc.upper].level
        if level in upward:
            numbers[index] = upward.index(level) + 1
    return numbers


def prepare_crops(
    dataset_dir: str | Path,
    detection_bundle: str | Path = DETECTION_BUNDLE,
    slices: int = 1,
    device: str = "cpu",
    detector: Callable[[MetaTensor], Column] | None = None,
    sequences: Sequence[str] = SEQUENCES,
) -> DiscCrops:
    """Detect, count and cut.

    Args:
        dataset_dir: SPIDER as published, or its working copy.
        detection_bundle: name or folder of the detector's bundle.
        slices: slices of a crop, odd.
        device: where the detector runs.
        detector: takes the bundle's place.
        sequences: whose scans are cut.

    Raises:
        ValueError: if not a single graded disc was found.
    """
    if slices < 1 or slices % 2 == 0:
        raise ValueError(f"slices must be odd, got {slices}")
    manifest = spider_manifest(dataset_dir)
    info: dict[str, Any] = {"manifest_sha256": manifest.sha256, "slices": slices}
    if detector is None:
        detector = VertebraDetector.from_bundle(detection_bundle, device)
        info["detector"] = bundle_info(detection_bundle)
    cut = ExtractDisc.with_margin(VIEW_MARGIN_PX, slices)
    scans = [scan for scan in middle_slice_copies(manifest) if scan.sequence in sequences]
    found: list[tuple[ScanRow, int, np.ndarray]] = []
    for scan in tqdm(scans, desc="disc crops", mininterval=5.0, disable=not sys.stderr.isatty()):
        found += [(scan, number, image) for number, image in _graded_discs(manifest, scan, detector, cut)]
    if not found:
        raise ValueError(
            f"dataset_dir must hold scans with graded discs, none was found in {Path(dataset_dir).name!r}"
        )
    for sequence in sequences:
        subjects = {s.subject_id for s in scans if s.sequence == sequence}
        graded = sum(subject in subjects for subject, _ in manifest.gradings)
        info[f"graded_{sequence}"] = graded
        info[f"found_{sequence}"] = sum(scan.sequence == sequence for scan, _, _ in found)
        log.info("%s: %d of %d graded discs found", sequence, info[f"found_{sequence}"], graded)
    return DiscCrops(
        images=np.stack([image for _, _, image in found]),
        grades=np.array([_grades(manifest, scan.subject_id, number) for scan, number, _ in found], np.int16),
        subjects=np.array([scan.subject_id for scan, _, _ in found]),
        cases=np.array([scan.case_id for scan, _, _ in found]),
        sequences=np.array([scan.sequence for scan, _, _ in found]),
        discs=np.array([number for _, number, _ in found], np.int16),
        tasks=tuple(task.name for task in SPIDER),
        info=info,
    )


def _grades(manifest: Manifest, subject: str, number: int) -> list[int]:
    grades = manifest.gradings[(subject, number)]
    return [grades.get(task.name, MISSING) for task in SPIDER]


def _graded_discs(
    manifest: Manifest, scan: ScanRow, detector: Callable[[MetaTensor], Column], cut: ExtractDisc
) -> Iterator[tuple[int, np.ndarray]]:
    array, affine = canonical_image(manifest.root / scan.image)
    image = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(affine))
    column = detector(image)
    for index, number in disc_numbers(column).items():
        if (scan.subject_id, number) not in manifest.gradings:
            continue
        disc = column.discs[index]
        bodies = [column.vertebrae[i].slice_corners_mm for i in (disc.upper, disc.lower)]
        try:
            volume = cut(image, bodies[0], bodies[1])
        except ValueError as error:
            log.warning("%s: disc %d cannot be cut: %s", scan.case_id, number, error)
            continue
        yield number, volume.as_tensor()[0].numpy().astype(np.float16)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset_dir", type=Path, required=True, help="SPIDER as published, or its working copy"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--bundle", default=DETECTION_BUNDLE, help="the detector")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--sequences", nargs="+", default=list(SEQUENCES), choices=["T1", *SEQUENCES])
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    crops = prepare_crops(
        chosen.dataset_dir, chosen.bundle, chosen.slices, chosen.device, sequences=chosen.sequences
    )
    crops.save(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

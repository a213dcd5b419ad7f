"""Cut the vertebral bodies, or the discs, of a data set once, as volumes that pairs are drawn from.

    python -m siamed.pipeline.pairs.prepare --dataset_dir SPIDER --out volumes

Every scan goes through the detector; whole bodies of T12 to S1 that have a name, or the discs between them
(``--structure disc``), are cut with a margin around the paper's region, so that a training can turn and shift
its view without running out of scan [D-0037], and written as NIfTI (8 bit: intensities lie in [0, 1]) beside
``volumes.csv``. Scans that show none are listed in the log.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.datasets.spider import middle_slice_copies, spider_manifest
from siamed.pipeline.detection import VertebraDetector
from siamed.pipeline.detection.training_data import canonical_image
from siamed.pipeline.detection.vertebra import Column
from siamed.pipeline.experiments.files import replace_file, sha256_of
from siamed.transforms.extract_disc import ExtractDisc
from siamed.transforms.extract_vertebral_body import BODY_SIZE, BODY_WIDTH_FRACTION, ExtractVertebralBody
from siamed.transforms.extract_volume import VIEW_MARGIN_PX

from .volumes import BODY_LEVELS, DISC_LEVELS, VolumeTable

__all__ = ["STRUCTURES", "main", "prepare_volumes", "save_volume"]

log = logging.getLogger(__name__)

DETECTION_BUNDLE = "spine_mr_vertebra_detection"
STRUCTURES = ("body", "disc")


def prepare_volumes(
    manifest: Manifest,
    scans: Sequence[ScanRow],
    out: str | Path,
    detector: Callable[[MetaTensor], Column],
    slices: int = 1,
    structure: str = "body",
) -> VolumeTable:
    """Detect, cut, write.

    Args:
        manifest: where the scans' paths start from.
        scans: which scans.
        out: folder to write to.
        detector: finds and names vertebrae.
        slices: slices of a volume, odd.
        structure: one of :data:`STRUCTURES`.

    Raises:
        ValueError: if no scan shows a named structure, ``slices`` is even, or the structure is unknown.
    """
    if structure not in STRUCTURES:
        raise ValueError(f"structure must be one of {STRUCTURES}, got {structure!r}")
    if slices < 1 or slices % 2 == 0:
        raise ValueError(f"slices must be odd, got {slices}")
    cut_named = _bodies(slices) if structure == "body" else _discs(slices)
    rows: list[Sequence[str]] = []
    for scan in tqdm(
        scans, desc=f"scans for each {structure}", mininterval=5.0, disable=not sys.stderr.isatty()
    ):
        found = len(rows)
        for level, volume in _named(manifest.root / scan.image, detector, cut_named, scan.case_id):
            path = Path("volumes", scan.case_id, f"{level}.nii.gz")
            digest = save_volume(Path(out) / path, volume)
            own = (scan.subject_id, scan.family_id, scan.case_id, scan.order, scan.sequence)
            rows.append((*own, level, path.as_posix(), digest))
        if len(rows) == found:
            log.warning("%s: no %s has a name", scan.case_id, structure)
    if not rows:
        raise ValueError(f"scans must show vertebrae that can be named, none of {len(scans)} does")
    table = VolumeTable.from_rows(out, rows)
    table.write()
    log.info("%d volumes of %d scans of %d subjects", len(table), *_counts(table))
    return table


def _counts(table: VolumeTable) -> tuple[int, int]:
    return len(set(table["scan_id"].tolist())), len(set(table["subject_id"].tolist()))


# Yields level and a call that cuts it.
_Named = Callable[[MetaTensor, Column], Iterator[tuple[str, Callable[[], MetaTensor]]]]


def _bodies(slices: int) -> _Named:
    size = (slices, BODY_SIZE[1] + 2 * VIEW_MARGIN_PX[0], BODY_SIZE[2] + 2 * VIEW_MARGIN_PX[1])
    cut = ExtractVertebralBody(size, BODY_WIDTH_FRACTION * BODY_SIZE[2] / size[2])

    def named(image: MetaTensor, column: Column) -> Iterator[tuple[str, Callable[[], MetaTensor]]]:
        corners = [vertebra.slice_corners_mm for vertebra in column.vertebrae]
        for i, vertebra in enumerate(column.vertebrae):
            if not vertebra.partial and vertebra.level in BODY_LEVELS:
                around = corners[max(i - 1, 0) : i] + corners[i + 1 : i + 2]
                yield vertebra.level, partial(cut, image, corners[i], around)

    return named


def _discs(slices: int) -> _Named:
    cut = ExtractDisc.with_margin(VIEW_MARGIN_PX, slices)

    def named(image: MetaTensor, column: Column) -> Iterator[tuple[str, Callable[[], MetaTensor]]]:
        for disc in column.discs:
            upper, lower = column.vertebrae[disc.upper], column.vertebrae[disc.lower]
            level = f"{upper.level}-{lower.level}"
            if level in DISC_LEVELS:
                yield level, partial(cut, image, upper.slice_corners_mm, lower.slice_corners_mm)

    return named


def _named(
    path: Path, detector: Callable[[MetaTensor], Column], cut_named: _Named, case_id: str
) -> Iterator[tuple[str, MetaTensor]]:
    array, affine = canonical_image(path)
    image = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(affine))
    for level, cut in cut_named(image, detector(image)):
        try:
            yield level, cut()
        except ValueError as error:
            log.warning("%s: %s cannot be cut: %s", case_id, level, error)


def save_volume(path: Path, volume: MetaTensor, steps: int = 255, kind: type = np.uint8) -> str:
    """Write a volume ``(1, D, H, W)`` as NIfTI of whole numbers; returns the file's SHA-256.

    The same volume gives the same bytes.

    Args:
        path: file to write.
        volume: intensities; in [0, 1] for the default of 8 bits.
        steps: numbers from 0 to 1; what lies beyond those that ``kind`` holds is clipped.
        kind: of numbers.
    """
    held = np.iinfo(kind)
    numbers = np.rint(steps * np.asarray(volume.as_tensor()[0], np.float32)).clip(held.min, held.max)
    image = nibabel.Nifti1Image(numbers.astype(kind), np.asarray(volume.affine, float))
    image.header.set_slope_inter(1 / steps, 0)
    image.header.set_xyzt_units("mm")
    # No time and no name in the gzip header.
    replace_file(path, lambda beside: beside.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0)))
    return sha256_of(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset_dir", type=Path, required=True, help="SPIDER as published, or its working copy"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the volumes and volumes.csv")
    parser.add_argument("--bundle", default=DETECTION_BUNDLE, help="the detector")
    parser.add_argument("--structure", choices=STRUCTURES, default="body")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = spider_manifest(chosen.dataset_dir)
    scans = middle_slice_copies(manifest)
    detector = VertebraDetector.from_bundle(chosen.bundle, chosen.device)
    prepare_volumes(manifest, scans, chosen.out, detector, chosen.slices, chosen.structure)
    return 0


if __name__ == "__main__":
    sys.exit(main())

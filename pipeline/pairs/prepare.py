"""Cut the vertebral bodies of a data set once, as volumes that pairs are drawn from.

    python -m siamed.pipeline.pairs.prepare --dataset_dir SPIDER --out volumes

Every scan goes through the detector; whole bodies of T12 to S1 that have a name are cut with a margin around
the paper's region, so that a training can turn and shift its view without running out of scan [D-0037], and
written as NIfTI (8 bit: intensities lie in [0, 1]) beside ``volumes.csv``. Scans without a named body are
listed in the log.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
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
from siamed.transforms.extract_vertebral_body import BODY_SIZE, BODY_WIDTH_FRACTION, ExtractVertebralBody

from .volumes import LEVELS, VolumeTable

__all__ = ["MARGIN", "main", "prepare_volumes"]

log = logging.getLogger(__name__)

DETECTION_BUNDLE = "spine_mr_vertebra_detection"
MARGIN = (24, 48)  # rows, columns around each side of a body's volume: the paper's shifts [D-0037]


def prepare_volumes(
    manifest: Manifest,
    scans: Sequence[ScanRow],
    out: str | Path,
    detector: Callable[[MetaTensor], Column],
    slices: int = 1,
) -> VolumeTable:
    """Detect, cut, write.

    Args:
        manifest: where the scans' paths start from.
        scans: which scans.
        out: folder to write to.
        detector: finds and names vertebrae.
        slices: slices of a volume, odd.

    Raises:
        ValueError: if no scan has a named body, or ``slices`` is even.
    """
    if slices < 1 or slices % 2 == 0:
        raise ValueError(f"slices must be odd, got {slices}")
    size = (slices, BODY_SIZE[1] + 2 * MARGIN[0], BODY_SIZE[2] + 2 * MARGIN[1])
    cut = ExtractVertebralBody(size, BODY_WIDTH_FRACTION * BODY_SIZE[2] / size[2])
    rows: list[Sequence[str]] = []
    for scan in tqdm(scans, desc="vertebral bodies", mininterval=5.0, disable=not sys.stderr.isatty()):
        found = len(rows)
        for level, volume in _named_bodies(manifest.root / scan.image, detector, cut, scan.case_id):
            path = Path("volumes", scan.case_id, f"{level}.nii.gz")
            _save(Path(out) / path, volume)
            own = (scan.subject_id, scan.family_id, scan.case_id, scan.order, scan.sequence)
            rows.append((*own, level, path.as_posix(), sha256_of(Path(out) / path)))
        if len(rows) == found:
            log.warning("%s: no body has a name", scan.case_id)
    if not rows:
        raise ValueError(f"scans must show vertebrae that can be named, none of {len(scans)} does")
    table = VolumeTable.from_rows(out, rows)
    table.write()
    log.info("%d volumes of %d scans of %d subjects", len(table), *_counts(table))
    return table


def _counts(table: VolumeTable) -> tuple[int, int]:
    return len(set(table["scan_id"].tolist())), len(set(table["subject_id"].tolist()))


def _named_bodies(
    path: Path, detector: Callable[[MetaTensor], Column], cut: ExtractVertebralBody, case_id: str
) -> Iterator[tuple[str, MetaTensor]]:
    array, affine = canonical_image(path)
    image = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(affine))
    column = detector(image)
    bodies = [vertebra.slice_corners_mm for vertebra in column.vertebrae]
    for i, vertebra in enumerate(column.vertebrae):
        if vertebra.partial or vertebra.level not in LEVELS:
            continue
        around = bodies[max(i - 1, 0) : i] + bodies[i + 1 : i + 2]
        try:
            yield vertebra.level, cut(image, bodies[i], around)
        except ValueError as error:
            log.warning("%s: %s cannot be cut: %s", case_id, vertebra.level, error)


def _save(path: Path, volume: MetaTensor) -> None:
    bits = np.rint(255 * np.asarray(volume.as_tensor()[0], np.float32)).astype(np.uint8)
    image = nibabel.Nifti1Image(bits, np.asarray(volume.affine, float))
    image.header.set_slope_inter(1 / 255, 0)
    image.header.set_xyzt_units("mm")
    # No time and no name in the gzip header: the same volume gives the same bytes.
    replace_file(path, lambda beside: beside.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset_dir", type=Path, required=True, help="SPIDER as published, or its working copy"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the volumes and volumes.csv")
    parser.add_argument("--bundle", default=DETECTION_BUNDLE, help="the detector")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = spider_manifest(chosen.dataset_dir)
    scans = middle_slice_copies(manifest)
    detector = VertebraDetector.from_bundle(chosen.bundle, chosen.device)
    prepare_volumes(manifest, scans, chosen.out, detector, chosen.slices)
    return 0


if __name__ == "__main__":
    sys.exit(main())

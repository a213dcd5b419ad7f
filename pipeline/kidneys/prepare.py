"""Cut the region around each kidney once, as volumes that pairs of the side proxy are drawn from.

    python -m siamed.pipeline.kidneys.prepare --dataset_dir SCANS --labels 2 3 --bundle BUNDLE --out volumes
    python -m siamed.pipeline.kidneys.prepare --masks MASKS --labels 1 2 --bundle BUNDLE --out volumes

Scans are prepared as the bundle's network will see them, kidneys are parted by side in the patient, and the
fixed region around each is cut with everything else removed [dhere2021, Sec. 2]. With ``--masks``, label maps
alone, or ``--shape``, volumes show the shape: 1 in the kidney, 0 elsewhere. Beside ``volumes.csv`` lies
``outcomes.csv``: how each scan ended. Only scans with two kidneys give volumes, as a pair asks which side
[D-0074]. The crops come from label maps: what the proxy learns has seen labels.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from siamed.pipeline.bundles import bundle_hparams
from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.pairs.prepare import save_volume
from siamed.pipeline.pairs.volumes import KIDNEYS, VolumeTable
from siamed.pipeline.segmentation.preprocessing import preprocessing
from siamed.transforms.kidney_region import kidney_region
from siamed.transforms.split_kidneys import LEFT, RIGHT, split_kidneys

__all__ = ["mask_manifest", "main", "prepare_kidneys"]

log = logging.getLogger(__name__)

_STEPS = 1000  # intensities have unit variance: a thousandth of it is kept
_OUTCOMES = ("case_id", "subject_id", "outcome", "cut", "right_inside", "left_inside")


def mask_manifest(folder: str | Path) -> Manifest:
    """Label maps ``NAME.nii.gz`` of a folder, each a subject of its own; the map stands for the image too.

    Raises:
        ValueError: if there is none.
    """
    root = Path(folder)
    names = sorted(path.name for path in root.glob("*.nii.gz"))
    if not names:
        raise ValueError(f"masks must be a folder of label maps NAME.nii.gz, {root.name!r} holds none")
    stems = [name.removesuffix(".nii.gz") for name in names]
    return Manifest(root, tuple(ScanRow(s, s, "", n, n) for s, n in zip(stems, names, strict=True)), {})


def prepare_kidneys(
    manifest: Manifest, labels: Sequence[int], hparams: Mapping[str, Any], out: str | Path, shape: bool
) -> VolumeTable:
    """Cut and write; see the module.

    Args:
        manifest: scans with label maps.
        labels: values of the label maps that are kidney, or belong to one.
        hparams: of the bundle: how scans are prepared, and ``region``, the size of a volume.
        out: folder to write to.
        shape: show the shape alone.

    Raises:
        ValueError: if no scan shows two kidneys.
    """
    rows: list[Sequence[str]] = []
    outcomes: list[Sequence[str]] = []
    prepare = preprocessing(hparams, labels)
    scans = [row for row in manifest.scans if row.label]
    for scan in tqdm(scans, desc="scans", mininterval=5.0, disable=not sys.stderr.isatty()):
        seen = prepare({key: str(manifest.root / getattr(scan, key)) for key in ("image", "label")})
        mask: MetaTensor = seen["label"]
        split = split_kidneys(np.asarray(mask.as_tensor()[0]), np.asarray(mask.affine))
        cut = _cut_in_file(manifest.root / scan.label, labels)
        shares = ["", ""]
        if split.outcome == "two_kidneys":
            image: MetaTensor = seen["label"].float() if shape else seen["image"]
            for place, (level, side) in enumerate(zip(KIDNEYS, (RIGHT, LEFT), strict=True)):
                own = torch.from_numpy(split.labels == side)[None]
                volume, share = kidney_region(image, own, hparams["region"], 0.0)
                shares[place] = f"{share:.4f}"
                path = Path("volumes", scan.case_id, f"{level.replace(' ', '_')}.nii.gz")
                digest = save_volume(Path(out) / path, volume, _STEPS, np.int16)
                person = (scan.subject_id, scan.family_id, scan.case_id, scan.order, scan.sequence)
                rows.append((*person, level, path.as_posix(), digest))
        outcomes.append((scan.case_id, scan.subject_id, split.outcome, " ".join(cut), *shares))
    _write_outcomes(Path(out) / "outcomes.csv", outcomes)
    counts = Counter(outcome for _, _, outcome, *_ in outcomes)
    log.info("%s", ", ".join(f"{name}: {count}" for name, count in counts.most_common()))
    if not rows:
        raise ValueError(f"scans must show two kidneys, none of {len(scans)} does")
    table = VolumeTable.from_rows(out, rows)
    table.write()
    return table


def _cut_in_file(path: Path, labels: Sequence[int]) -> tuple[str, ...]:
    """Sides that the scan cuts; what is padded hides it."""
    image = nibabel.Nifti1Image.from_filename(path)
    return split_kidneys(np.isin(np.asarray(image.dataobj), labels), np.asarray(image.affine)).cut


def _write_outcomes(path: Path, rows: Sequence[Sequence[str]]) -> None:
    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_OUTCOMES, *rows])

    replace_file(path, write)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--dataset_dir", type=Path, help="scans with label maps")
    given.add_argument("--masks", type=Path, help="a folder of label maps alone")
    parser.add_argument("--labels", type=int, nargs="+", required=True, help="values that are kidney")
    parser.add_argument("--bundle", required=True, help="its hyper-parameters say how scans are prepared")
    parser.add_argument("--out", type=Path, required=True, help="folder for the volumes and volumes.csv")
    parser.add_argument("--shape", action="store_true", help="show the shape alone")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    masks = chosen.masks is not None
    manifest = mask_manifest(chosen.masks) if masks else segmentation_manifest(chosen.dataset_dir)
    hparams = bundle_hparams(chosen.bundle)
    prepare_kidneys(manifest, chosen.labels, hparams, chosen.out, chosen.shape or masks)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Count discs in the unlabelled middle slices of SPIDER against the number its tables give.

    python -m siamed.pipeline.detection.midslices --dataset_dir FOLDER --trainings runs/cv --out runs/mid

With ``--trainings``, the folder of a cross-validation, each patient is read by the detector of the fold that
left this patient out; without it the bundle's own detector reads all, also the patients it was trained on.

Contract: SPIDER's table gives each scan's number of discs, its gradings say how many of them were graded,
counted from the sacrum. A slice *agrees* if S1 is found and the number of discs found above it, up to the
graded ones, is the number of discs that the table gives, up to the graded ones. It *agrees exactly* if the
whole count is equal. What is written: ``midslices.csv``, ``summary.json``, ``disagree.png`` with every
slice that does not agree.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from tqdm import tqdm

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.datasets.manifest import Manifest
from siamed.pipeline.datasets.spider import spider_manifest
from siamed.pipeline.datasets.splits import read_folds
from siamed.pipeline.experiments.files import replace_file, write_json

from .cross_validate import BUNDLE, detector_from_checkpoint
from .detector import VertebraDetector
from .figures import draw_column
from .training_data import canonical_image
from .vertebra import Column

__all__ = ["count_discs", "main"]

log = logging.getLogger(__name__)


def count_discs(column: Column, graded: int) -> int | None:
    """Discs above S1, up to the graded ones; None where S1 was not found."""
    if not any(v.level == "S1" for v in column.vertebrae):
        return None
    return min(len(column.discs), graded)


def _rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    graded = Counter(subject for subject, _ in manifest.gradings)
    for scan in manifest.scans:
        if scan.discs:
            discs = int(scan.discs)
            yield {**asdict(scan), "discs": discs, "graded": min(discs, graded[scan.subject_id] or discs)}


def _detectors(trainings: Path | None, device: str) -> Callable[[str], VertebraDetector]:
    """Which detector reads a subject."""
    if trainings is None:
        shipped = VertebraDetector.from_bundle(BUNDLE, device)
        return lambda subject: shipped
    folds = read_folds(bundle_path(BUNDLE) / "configs" / "folds.json")
    held_out = {subject: index for index, members in enumerate(folds) for subject in members}
    trained = [
        detector_from_checkpoint(trainings / f"fold_{k}" / "latest.pt", device) for k in range(len(folds))
    ]

    def reader(subject: str) -> VertebraDetector:
        if subject not in held_out:
            raise ValueError(f"folds.json must name every subject, {subject!r} is in none of its folds")
        return trained[held_out[subject]]

    return reader


def _detect(
    detector: VertebraDetector, row: dict[str, Any], dataset_dir: Path
) -> tuple[np.ndarray, np.ndarray, Column]:
    image, affine = canonical_image(dataset_dir / row["image"])
    column = detector(
        MetaTensor(torch.from_numpy(image.astype(np.float32))[None], affine=torch.from_numpy(affine))
    )
    return image, affine, column


def _figure(failures: Sequence[tuple[dict[str, Any], np.ndarray, np.ndarray, Column]]) -> Figure:
    rows = max(1, -(-len(failures) // 10))
    figure = Figure(figsize=(20, 2.6 * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, 10)).flat)
    for axis in axes:
        axis.set_axis_off()
    for axis, (row, image, affine, column) in zip(axes, failures, strict=False):
        draw_column(axis, image, column, affine)
        axis.set_title(f"{row['case_id']}: {row['found']} of {row['graded']}", fontsize=7)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset_dir",
        type=Path,
        required=True,
        help="folder with midslice/, scans.csv, radiological_gradings.csv",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trainings", type=Path, help="folder of the cross-validation's trainings")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen.out.mkdir(parents=True, exist_ok=True)
    detectors = _detectors(chosen.trainings, chosen.device)
    results, failures = [], []
    for row in tqdm(
        list(_rows(spider_manifest(chosen.dataset_dir))),
        desc="mid-slices",
        mininterval=5.0,
        disable=not sys.stderr.isatty(),
    ):
        image, affine, column = _detect(detectors(row["subject_id"]), row, chosen.dataset_dir)
        found = count_discs(column, row["graded"])
        row |= {
            "found": "no S1" if found is None else found,
            "all_found": len(column.discs),
            "agrees": found == row["graded"],
        }
        row["agrees_exactly"] = found is not None and len(column.discs) == row["discs"]
        results.append(row)
        if not row["agrees"]:
            failures.append((row, image, affine, column))
    names = ["case_id", "sequence", "discs", "graded", "found", "all_found", "agrees", "agrees_exactly"]
    with (chosen.out / "midslices.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore")
        table.writeheader()
        table.writerows(results)
    summary = {"all": _share(results)}
    for sequence in sorted({row["sequence"] for row in results}):
        summary[sequence] = _share([row for row in results if row["sequence"] == sequence])
    write_json(chosen.out / "summary.json", summary)
    figure = _figure(failures)
    replace_file(chosen.out / "disagree.png", lambda beside: figure.savefig(beside, dpi=100, format="png"))
    log.info("%s", summary)
    return 0


def _share(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        "scans": len(rows),
        "agrees": float(np.mean([row["agrees"] for row in rows])),
        "agrees_exactly": float(np.mean([row["agrees_exactly"] for row in rows])),
        "s1_found": float(np.mean([row["found"] != "no S1" for row in rows])),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Cross-validate the detector: train each fold by its bundle, score whole scans that no training has seen.

    python -m siamed.pipeline.detection.cross_validate --dataset_dir FOLDER --out runs/detector_cv

Each fold is a training by ``monai.bundle run`` in its own folder, so the command resumes where it was
stopped and each fold is a tracked run. What is written: ``scores.csv`` (a row a scan), ``summary.json`` and
``detections.png``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor

from siamed.pipeline.bundles import bundle_hparams, bundle_parser, bundle_path, load_weights
from siamed.pipeline.datasets.manifest import ScanRow
from siamed.pipeline.datasets.spider import merge_labels
from siamed.pipeline.datasets.splits import fold_parts, read_folds
from siamed.pipeline.experiments.files import replace_file, write_json
from siamed.transforms.vertebral_bodies import vertebral_bodies

from .decode import DecodeSettings
from .detector import VertebraDetector
from .evaluate import ScanScore, score_column, summarize
from .figures import draw_column
from .linking import LinkSettings
from .training_data import canonical_image, labelled_volumes

__all__ = ["detector_from_checkpoint", "main", "score_fold", "train_fold"]

log = logging.getLogger(__name__)

BUNDLE = "spine_mr_vertebra_detection"


def train_fold(fold: int, dataset_dir: Path, output_dir: Path, options: Sequence[str] = ()) -> Path:
    """Train one fold by the bundle's configuration, or resume it; returns the last checkpoint.

    Raises:
        subprocess.CalledProcessError: if the training fails.
    """
    config = bundle_path(BUNDLE) / "configs" / "train.yaml"
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(config),
        "--dataset_dir",
        str(dataset_dir),
    ]
    subprocess.run([*command, "--output_dir", str(output_dir), "--fold", str(fold), *options], check=True)
    return output_dir / "latest.pt"


def detector_from_checkpoint(checkpoint: Path, device: str = "cpu") -> VertebraDetector:
    """A detector with the bundle's settings and a checkpoint's weights."""
    network = bundle_parser(BUNDLE).get_parsed_content("network_def")
    network.load_state_dict(load_weights(checkpoint))
    hparams = bundle_hparams(BUNDLE)
    return VertebraDetector(
        network,
        view_spacing_mm=hparams["view_spacing_mm"],
        percentile=hparams["percentile"],
        device=device,
        decode=DecodeSettings(**hparams["decode"]),
        link=LinkSettings(**hparams["link"]),
    )


def score_fold(
    detector: VertebraDetector, volumes: Sequence[ScanRow], axes: Sequence | None = None
) -> list[ScanScore]:
    """Score whole volumes with labels; draws each on an axis if given."""
    scores = []
    for index, volume in enumerate(volumes):
        image, affine = canonical_image(volume.image)
        label = merge_labels(canonical_image(volume.label)[0])
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        column = detector(
            MetaTensor(torch.from_numpy(image.astype(np.float32))[None], affine=torch.from_numpy(affine))
        )
        scores.append(score_column(volume.case_id, column, vertebral_bodies(label, spacing), affine))
        if axes is not None:
            draw_column(axes[index], image, column, affine)
            axes[index].set_title(volume.case_id, fontsize=7)
    return scores


def _write_scores(path: Path, scores: Sequence[ScanScore]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            [
                "case_id",
                "labelled",
                "found",
                "false",
                "names_right",
                "s1_found",
                "corner_error_mm_median",
                "notes",
            ]
        )
        for s in scores:
            error = float(np.median(s.corner_errors_mm)) if s.corner_errors_mm else float("nan")
            table.writerow(
                [
                    s.case_id,
                    s.labelled,
                    s.found,
                    s.false,
                    s.names_right,
                    s.s1_found,
                    f"{error:.3f}",
                    "; ".join(s.notes),
                ]
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dataset_dir", type=Path, required=True, help="folder with space_half/ and space_native/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings and the figures")
    parser.add_argument(
        "--folders", nargs="+", default=["space_half", "space_native"], help="volumes that are scored"
    )
    parser.add_argument("--device", default="cpu")
    chosen, options = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    split = bundle_path(BUNDLE) / "configs" / "folds.json"
    volumes = [
        labelled_volumes(chosen.dataset_dir, chosen.folders, fold_parts(split, fold, "validation"))
        for fold in range(len(read_folds(split)))
    ]
    rows = -(-sum(map(len, volumes)) // 9)
    figure = Figure(figsize=(18, 2.4 * rows), layout="constrained")
    axes = list(figure.subplots(rows, 9).flat)
    for axis in axes:
        axis.set_axis_off()
    scores: list[ScanScore] = []
    for fold, members in enumerate(volumes):
        checkpoint = train_fold(fold, chosen.dataset_dir, chosen.out / f"fold_{fold}", options)
        found = score_fold(detector_from_checkpoint(checkpoint, chosen.device), members, axes[len(scores) :])
        log.info("fold %d: %s", fold, summarize(found))
        scores += found
    _write_scores(chosen.out / "scores.csv", scores)
    summary = {"all": summarize(scores)}
    for folder in chosen.folders:
        summary[folder] = summarize([s for s in scores if s.case_id.startswith(folder + "/")])
    write_json(chosen.out / "summary.json", summary)
    replace_file(chosen.out / "detections.png", lambda beside: figure.savefig(beside, dpi=110, format="png"))
    log.info("%s", json.dumps(summary["all"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Draw hotspots of real discs, to be looked at: of each fold and finding a disc that has it.

    python -m siamed.pipeline.grading.hotspot_overlays --crops_file crops.npz --out overlays.png \\
        --runs "runs/grader_cv/seed_0_fold_{fold}"

Discs are drawn at random among those in which reader and network both see the finding, among all that the
reader marked where the network finds none. Beside the finding's hotspots stand those of the Pfirrmann grade
and of bulging in the same disc: what looks alike in all three says nothing of the finding. Beside the picture
a list of the discs is written, ``overlays.csv``.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.datasets.splits import fold_parts, read_folds
from siamed.pipeline.experiments.files import replace_file
from siamed.transforms.extract_volume import VIEW_MARGIN_PX

from .crops import DiscCrops
from .hotspot_checks import BUNDLE, graders_of
from .hotspots import EvidenceHotspots
from .tasks import TASKS

__all__ = ["Overlay", "draw_overlays", "main", "overlays_of_fold"]

FINDINGS = ("upper_endplate", "lower_endplate", "modic", "herniation", "spondylolisthesis")
BESIDE = ("pfirrmann", "bulging")


@dataclass(frozen=True)
class Overlay:
    """One disc and its hotspots.

    Args:
        task: the finding.
        case_id: the scan.
        disc: its number, from the lowest up.
        said: grade that the network gives.
        truth: grade that the reader gave.
        image: ``(H, W)`` the middle slice, without its margin.
        maps: task -> ``(H, W)``.
    """

    task: str
    case_id: str
    disc: int
    said: int
    truth: int
    image: np.ndarray
    maps: dict[str, np.ndarray]


def overlays_of_fold(
    crops: DiscCrops, hotspots: EvidenceHotspots, findings: Sequence[str], seed: int
) -> list[Overlay]:
    """A disc for each finding that a disc has.

    Args:
        crops: held out from the hotspots' grader.
        hotspots: of that grader.
        findings: tasks whose lowest grade is normal.
        seed: of the choice.
    """
    grader, rng, found = hotspots.grader, np.random.default_rng(seed), []
    volumes = torch.from_numpy(crops.images[:, None]).float()
    answers = grader(volumes)
    rows, columns = VIEW_MARGIN_PX
    for task in findings:
        normal = TASKS[task][0]
        truth = crops.grades[:, crops.tasks.index(task)]
        said = np.array([answer[task]["grade"] for answer in answers])
        marked = np.flatnonzero(truth > normal)
        agreed = [n for n in marked if said[n] > normal]
        if not len(marked):
            continue
        n = int(rng.choice(agreed or marked))
        grades = {other: answer["grade"] for other, answer in answers[n].items()} | {task: int(truth[n])}
        maps = hotspots(volumes[n : n + 1], [grades]).smoothed()[0, :, crops.images.shape[1] // 2]
        inside = (slice(rows, -rows), slice(columns, -columns))
        found.append(
            Overlay(
                task,
                str(crops.cases[n]),
                int(crops.discs[n]),
                int(said[n]),
                int(truth[n]),
                crops.images[n, crops.images.shape[1] // 2][inside].astype(np.float32),
                {t: maps[hotspots.tasks.index(t)].numpy()[inside] for t in (task, *BESIDE)},
            )
        )
    return found


def draw_overlays(overlays: Sequence[Overlay]) -> Figure:
    """A row a disc: the picture, then the hotspots, each scaled to its own maximum, which is marked."""
    wide = 1 + 1 + len(BESIDE)
    figure = Figure(figsize=(3 * wide, 1.75 * len(overlays)), layout="constrained")
    places = figure.subplots(len(overlays), wide, squeeze=False)
    for number, (overlay, row) in enumerate(zip(overlays, places, strict=True), 1):
        for axes in row:
            axes.imshow(overlay.image, cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
        row[0].set_title(f"{number}: reader {overlay.truth}, network {overlay.said}", fontsize=9)
        for axes, (task, heat) in zip(row[1:], overlay.maps.items(), strict=True):
            share = heat / max(float(heat.max()), 1e-9)
            axes.imshow(share, cmap="inferno", alpha=0.75 * share)
            y, x = np.unravel_index(int(heat.argmax()), heat.shape)
            axes.plot(x, y, "c+")
            axes.set_title(task.replace("_", " "), fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops_file", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    parser.add_argument("--runs", help="graders of each fold, a path with {fold} in it; else the bundle")
    parser.add_argument("--sequences", nargs="+", default=["T2"])
    parser.add_argument("--samples", type=int, default=10, help="views of a hotspot")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    split, crops = bundle_path(BUNDLE) / "configs" / "folds.json", DiscCrops.load(chosen.crops_file)
    overlays: list[Overlay] = []
    for fold, grader, hparams in graders_of(chosen.runs, range(len(read_folds(split)))):
        own = crops.of(fold_parts(split, fold, "validation"), chosen.sequences)
        if len(own):
            findings = [task for task in FINDINGS if task in grader.tasks]
            hotspots = EvidenceHotspots(grader, hparams, chosen.samples)
            overlays += overlays_of_fold(own, hotspots, findings, fold)
    if not overlays:
        raise SystemExit("crops_file must hold discs with a finding, none was found")
    overlays.sort(key=lambda overlay: FINDINGS.index(overlay.task))
    figure = draw_overlays(overlays)
    replace_file(chosen.out, partial(figure.savefig, dpi=100, format="png"))
    replace_file(chosen.out.with_suffix(".csv"), partial(_write_list, overlays))
    sys.stdout.write(f"{len(overlays)} discs: {chosen.out}\n")
    return 0


def _write_list(overlays: Sequence[Overlay], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["number", "task", "case_id", "disc", "reader", "network"])
        for number, one in enumerate(overlays, 1):
            table.writerow([number, one.task, one.case_id, one.disc, one.truth, one.said])


if __name__ == "__main__":
    sys.exit(main())

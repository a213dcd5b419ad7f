"""Cross-validate the side proxy: each fold a training by its bundle, scored on patients not seen.

    python -m siamed.pipeline.kidneys.cross_validate --bundle BUNDLE --dataset_dir VOLUMES --out runs/sides

Each training is a tracked run in its own folder, so the command resumes where it was stopped; options it does
not know go to the trainings. Compared is every kidney of a fold with every kidney of every other patient of
the fold: a positive pair is of one side. Figures are those of the last epoch, pooled over folds, each
comparison within its fold; a pair is told right where its distance lies on the right side of half the margin.
Written: ``summary.json``, ``distances.png``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siamed.pipeline.bundles import bundle_path, run_network
from siamed.pipeline.datasets.splits import read_folds
from siamed.pipeline.experiments.files import replace_file, write_json
from siamed.pipeline.experiments.train_fold import train_folds
from siamed.pipeline.pairs.figures import draw_distances
from siamed.pipeline.pairs.inference import WholeVolumeInferer
from siamed.pipeline.pairs.metrics import Compared, pooled_auc
from siamed.pipeline.pairs.training_data import fold_table, load_volumes
from siamed.pipeline.pairs.volumes import VolumeTable

__all__ = ["compare_sides", "main", "score_fold", "summarize"]

log = logging.getLogger(__name__)

_BATCH = 8


def compare_sides(embeddings: np.ndarray, levels: np.ndarray, persons: np.ndarray) -> Compared:
    """Every kidney with every kidney of every other patient, each pair once.

    Args:
        embeddings: ``(N, E)``.
        levels: ``(N,)`` "right kidney" or "left kidney".
        persons: ``(N,)``.
    """
    one, other = np.triu_indices(len(embeddings), 1)
    apart = persons[one] != persons[other]
    one, other = one[apart], other[apart]
    distance = np.linalg.norm(embeddings[one] - embeddings[other], axis=1)
    return Compared(distance, levels[one] == levels[other], persons[one], persons[other])


@torch.inference_mode()
def score_fold(run: Path, volumes_file: Path, split: Path, fold: int) -> tuple[Compared, float]:
    """Comparisons of a fold by the training that left it out, and the distance that parts the sides.

    Args:
        run: folder of the training.
        volumes_file: ``volumes.csv``.
        split: file of folds.
        fold: the fold that the training left out.
    """
    network, hparams = run_network(run)
    table = fold_table(volumes_file, split, fold, "validation", None)
    volumes = load_volumes(table).float()
    embed = WholeVolumeInferer()
    embeddings = [embed(part[:, None], network) for part in volumes.split(_BATCH)]
    compared = compare_sides(torch.cat(embeddings).numpy(), table["level"], table["subject_id"].astype(str))
    return compared, float(hparams["margin"]) / 2


def summarize(folds: Sequence[tuple[Compared, float]], draws: int = 500) -> dict[str, Any]:
    """Accuracy and AUC over all folds.

    Args:
        folds: of :func:`score_fold`.
        draws: bootstrap samples of the interval.
    """
    right = [(part.distance < threshold) == part.same for part, threshold in folds]
    people = {person for part, _ in folds for person in (*part.first.tolist(), *part.second.tolist())}
    return {
        "patients": len(people),
        "accuracy": float(np.concatenate(right).mean()),
        "accuracy_folds": [float(part.mean()) for part in right],
        **pooled_auc([part for part, _ in folds], draws),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. Options it does not know go to the trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", required=True, help="name or folder of a side proxy's bundle")
    parser.add_argument("--dataset_dir", type=Path, required=True, help="folder of volumes.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", help="some folds only")
    chosen, options = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options += ["--dataset_dir", str(chosen.dataset_dir)]
    split = bundle_path(chosen.bundle) / "configs" / "folds.json"
    volumes_file = chosen.dataset_dir / "volumes.csv"
    numbers = range(len(read_folds(split))) if chosen.folds is None else chosen.folds
    folds = []
    for fold, run in train_folds(chosen.bundle, numbers, chosen.out, options):
        folds.append(score_fold(run, volumes_file, split, fold))
        log.info("fold %d: AUC %.4f", fold, folds[-1][0].auc)
    summary = {**summarize(folds), "volumes_sha256": VolumeTable.read(volumes_file).sha256}
    write_json(chosen.out / "summary.json", summary)
    distances, same = (np.concatenate([getattr(p, name) for p, _ in folds]) for name in ("distance", "same"))
    figure = draw_distances(distances, same, "same_side")
    replace_file(chosen.out / "distances.png", partial(figure.savefig, dpi=120, format="png"))
    log.info("%s", json.dumps({name: summary[name] for name in ("accuracy", "auc")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

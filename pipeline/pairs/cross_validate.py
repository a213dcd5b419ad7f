"""Cross-validate the Siamese pretraining: each fold a training by its bundle, scored on patients not seen.

    python -m siamed.pipeline.pairs.cross_validate --dataset_dir VOLUMES --out runs/siamese_cv

Each training is a tracked run in its own folder, so the command resumes where it was stopped; options it does
not know go to the trainings (``--hparams#field_px "[96,128]"``). Figures are those of the last epoch.
Positive pairs are a person's T1 and T2 at one level, negative ones every T1 with the T2 of every other person
of the fold at that level; AUCs are pooled over folds, each comparison within its fold. Two controls stand
beside them: persons of one scanner model only (``--scanners``: a table with ``patient_id`` and ``model``),
and a classifier that sees acquisition geometry and intensity statistics alone. The third, a network that sees
the body and nothing around it, is this command with a smaller field. What is written: ``summary.json``,
``distances.png``, ``levels.png``, and ``calibration.json``, which the bundle ships.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from siamed.pipeline.bundles import bundle_path, run_network
from siamed.pipeline.datasets.splits import read_folds
from siamed.pipeline.experiments.embedding_statistics import effective_rank
from siamed.pipeline.experiments.figures import ConfusionMatrix
from siamed.pipeline.experiments.files import replace_file, write_json
from siamed.pipeline.experiments.train_fold import train_folds
from siamed.transforms.rand_volume_view import RandVolumeViewd

from .calibration import fit_calibration
from .controls import TRACES, TracesOfAcquisition, acquisition_features
from .figures import draw_distances
from .metrics import Compared, compare_columns, compare_volumes, distance_matrix, pooled_auc
from .sampling import PairSampler
from .training_data import PairDataset, acquisition_pairs, fold_table, load_volumes
from .volumes import LEVELS, VolumeTable, level_indices

__all__ = ["FoldPairs", "embed_fold", "main", "read_scanners", "summarize"]

log = logging.getLogger(__name__)

BUNDLE = "spine_mr_siamese_pretraining"
SEQUENCES = ("T1", "T2")


@dataclass(frozen=True)
class FoldPairs:
    """What a fold's figures are made of: N positive pairs of patients whom the network has not seen.

    Args:
        distances: ``(N, N)`` of every first from every second volume.
        levels: ``(N,)`` from 0.
        persons: ``(N,)`` ids.
        predicted: ``(N, 2)`` levels that the network gives.
        traces: group of features -> ``(N, N)`` distances by these traces of the acquisition alone.
        rank: effective rank of the embeddings.
    """

    distances: np.ndarray
    levels: np.ndarray
    persons: np.ndarray
    predicted: np.ndarray
    traces: dict[str, np.ndarray]
    rank: float


@torch.inference_mode()
def embed_fold(run: Path, volumes_file: Path, split: Path, fold: int) -> FoldPairs:
    """Embed the held-out pairs of a fold by a training's last checkpoint.

    Args:
        run: folder of the training.
        volumes_file: ``volumes.csv``.
        split: file of folds.
        fold: the fold that the training left out.
    """
    network, hparams = run_network(run)
    table = fold_table(volumes_file, split, fold, "validation", SEQUENCES)
    pairs = acquisition_pairs(table, SEQUENCES)
    view = RandVolumeViewd("image", hparams["field_px"], hparams["input_size"], random=False)
    loader = DataLoader(PairDataset(table, load_volumes(table), view, pairs), batch_size=64)
    outputs = torch.cat([network(batch["image"]) for batch in loader])
    embeddings, scores = outputs.split([hparams["embedding"], outputs.shape[2] - hparams["embedding"]], 2)
    training = fold_table(volumes_file, split, fold, "training", SEQUENCES)
    return FoldPairs(
        distances=distance_matrix(embeddings.numpy()),
        levels=level_indices(table)[pairs.first],
        persons=table["subject_id"][pairs.first],
        predicted=scores.argmax(2).numpy(),
        traces=_traces(training, table, pairs.first, pairs.second),
        rank=effective_rank(embeddings.flatten(0, 1).numpy()),
    )


def _traces(
    training: VolumeTable, table: VolumeTable, first: np.ndarray, second: np.ndarray
) -> dict[str, np.ndarray]:
    drawn = PairSampler(training).draw(10000, np.random.default_rng(0))
    known, new = acquisition_features(training), acquisition_features(table)
    distances = {}
    for name, columns in TRACES.items():
        judge = TracesOfAcquisition(known[:, columns], training["sequence"], drawn)
        distances[name] = judge.distances(new[:, columns], table["sequence"], first)[:, second]
    return distances


def read_scanners(path: str | Path) -> dict[str, str]:
    """Scanner model of each patient, from a table with ``patient_id`` and ``model``.

    Raises:
        ValueError: if it lacks a column.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"patient_id", "model"} <= set(rows[0]):
        raise ValueError(f"scanners must have the columns patient_id and model, got {sorted(rows[0])}")
    return {row["patient_id"]: row["model"] for row in rows}


def _both(
    folds: Sequence[FoldPairs],
    distances: Sequence[np.ndarray],
    scanners: Mapping[str, str] | None,
    draws: int,
) -> dict[str, Any]:
    """Figures of single volumes and of columns, from one kind of distances."""
    figures = {}
    for name, compare in (("same_person", compare_volumes), ("column", compare_columns)):
        parts = [
            compare(part, fold.levels, fold.persons.astype(str))
            for part, fold in zip(distances, folds, strict=True)
        ]
        if scanners is not None:
            parts = [_within_scanner(part, scanners) for part in parts]
        figures[name] = pooled_auc(parts, draws)
    return figures


def _within_scanner(compared: Compared, scanners: Mapping[str, str]) -> Compared:
    first, second = (
        np.array([scanners.get(person, "") for person in side]) for side in (compared.first, compared.second)
    )
    kept = (first == second) & (first != "")
    return Compared(compared.distance[kept], compared.same[kept], compared.first[kept], compared.second[kept])


def summarize(
    folds: Sequence[FoldPairs], scanners: Mapping[str, str] | None = None, draws: int = 500
) -> dict[str, Any]:
    """All figures of a cross-validation.

    Args:
        folds: of :func:`embed_fold`.
        scanners: patient -> scanner model, for the control within one model.
        draws: bootstrap samples of an interval.
    """
    levels = np.concatenate([fold.levels for fold in folds])
    off = np.concatenate([np.abs(fold.predicted - fold.levels[:, None]) for fold in folds])
    learned = [fold.distances for fold in folds]
    shown = {i: name for i, name in enumerate(LEVELS) if (levels == i).any()}
    summary: dict[str, Any] = {
        "patients": len({person for fold in folds for person in fold.persons.tolist()}),
        **_both(folds, learned, None, draws),
        "level_accuracy": float((off == 0).mean()),
        "level_within_one": float((off <= 1).mean()),
        "level_accuracy_by_level": {name: float((off[levels == i] == 0).mean()) for i, name in shown.items()},
        "effective_rank": [fold.rank for fold in folds],
        "traces_of_acquisition": {
            group: _both(folds, [fold.traces[group] for fold in folds], None, draws)
            for group in folds[0].traces
        },
    }
    if scanners is not None:
        summary["within_one_scanner_model"] = {
            **_both(folds, learned, scanners, draws),
            "traces_of_acquisition": _both(folds, [fold.traces["all"] for fold in folds], scanners, draws),
        }
    return summary


def _draw(folder: Path, folds: Sequence[FoldPairs]) -> None:
    parts = [compare_volumes(fold.distances, fold.levels, fold.persons) for fold in folds]
    distances, same = (np.concatenate([getattr(p, name) for p in parts]) for name in ("distance", "same"))
    pooled = draw_distances(distances, same)
    classes = 1 + max(int(part.max()) for fold in folds for part in (fold.levels, fold.predicted))
    matrix = ConfusionMatrix(list(LEVELS[:classes]), title="level, all folds")
    for fold in folds:
        np.add.at(matrix.counts, (np.repeat(fold.levels, 2), fold.predicted.ravel()), 1)
    for name, figure in (("distances", pooled), ("levels", matrix(None))):
        replace_file(folder / f"{name}.png", partial(figure.savefig, dpi=120, format="png"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. Options it does not know go to the trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", type=Path, required=True, help="folder of volumes.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", help="some folds only")
    parser.add_argument("--scanners", type=Path, help="table with patient_id and model")
    chosen, options = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options += ["--dataset_dir", str(chosen.dataset_dir)]
    split, volumes_file = bundle_path(BUNDLE) / "configs" / "folds.json", chosen.dataset_dir / "volumes.csv"
    numbers = range(len(read_folds(split))) if chosen.folds is None else chosen.folds
    folds: list[FoldPairs] = []
    for fold, run in train_folds(BUNDLE, numbers, chosen.out, options):
        folds.append(embed_fold(run, volumes_file, split, fold))
        log.info("fold %d: %s", fold, json.dumps(summarize(folds[-1:], draws=100)["same_person"]))
    summary = summarize(folds, read_scanners(chosen.scanners) if chosen.scanners else None)
    summary["volumes_sha256"] = VolumeTable.read(volumes_file).sha256
    if len(folds) > 1:  # a fit is tried on a fold that it left out
        calibration, summary["calibration"] = fit_calibration(
            [compare_volumes(fold.distances, fold.levels, fold.persons) for fold in folds],
            [compare_columns(fold.distances, fold.levels, fold.persons) for fold in folds],
            SEQUENCES,
        )
        calibration.write(chosen.out / "calibration.json", summary["calibration"])
    write_json(chosen.out / "summary.json", summary)
    _draw(chosen.out, folds)
    log.info("%s", json.dumps({name: summary[name]["auc"] for name in ("same_person", "column")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

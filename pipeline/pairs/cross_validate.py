"""Cross-validate the Siamese pretraining: each fold a training by its bundle, scored on patients not seen.

    python -m siamed.pipeline.pairs.cross_validate --dataset_dir VOLUMES --out runs/siamese_cv --scanners scans.csv

Each training is a tracked run in its own folder, so the command resumes where it was stopped; options it does
not know go to the trainings (``--hparams#field_px "[96,128]"``). Figures are those of the last epoch. Positive
pairs are a person's T1 and T2 at one level, negative ones every T1 with the T2 of every other person of the
fold at that level; AUCs are pooled over folds, each comparison within its fold. Two controls stand beside
them: persons of one scanner model only (``--scanners``: a table with ``patient_id`` and ``model``), and a
classifier that sees acquisition geometry and intensity statistics alone. The third, a network that sees the
body and nothing around it, is this command with a smaller field. What is written: ``summary.json``,
``distances.png``, ``levels.png``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.utils.data import DataLoader

from siamed.pipeline.bundles import bundle_parser, bundle_path, load_weights
from siamed.pipeline.datasets.splits import read_folds
from siamed.pipeline.experiments.figures import ConfusionMatrix
from siamed.pipeline.experiments.files import read_json, replace_file, write_json
from siamed.transforms.rand_volume_view import RandVolumeViewd

from .controls import TracesOfAcquisition, acquisition_features
from .figures import draw_distances
from .metrics import MIN_COLUMN, effective_rank
from .sampling import PairSampler
from .training_data import PairDataset, acquisition_pairs, fold_table, load_volumes
from .volumes import LEVELS, VolumeTable

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
        traces: ``(N, N)`` distances by traces of the acquisition alone.
        rank: effective rank of the embeddings.
    """

    distances: np.ndarray
    levels: np.ndarray
    persons: np.ndarray
    predicted: np.ndarray
    traces: np.ndarray
    rank: float


def train(fold: int, dataset_dir: Path, output_dir: Path, options: Sequence[str] = ()) -> Path:
    """Train one fold by the bundle's configuration, or resume it; returns the run's folder."""
    done = read_json(output_dir / "run.json")
    if done is None or done["status"] != "FINISHED":
        config = bundle_path(BUNDLE) / "configs" / "train.yaml"
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
        command += ["--dataset_dir", str(dataset_dir), "--output_dir", str(output_dir), "--fold", str(fold)]
        subprocess.run([*command, *options], check=True)
    return output_dir


@torch.inference_mode()
def embed_fold(run: Path, volumes_file: Path, split: Path, fold: int) -> FoldPairs:
    """Embed the held-out pairs of a fold by a training's last checkpoint.

    Args:
        run: folder of the training.
        volumes_file: ``volumes.csv``.
        split: file of folds.
        fold: the fold that the training left out.
    """
    hparams = read_json(run / "run.json")["hparams"]
    parser = bundle_parser(BUNDLE)
    parser["hparams"] = hparams
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_weights(run / "latest.pt"))
    network.eval()
    table = fold_table(volumes_file, split, fold, "validation", SEQUENCES)
    pairs = acquisition_pairs(table, SEQUENCES)
    view = RandVolumeViewd("image", hparams["field_px"], hparams["input_size"], random=False)
    loader = DataLoader(PairDataset(table, load_volumes(table), view, pairs), batch_size=64)
    embeddings, scores = network.split(torch.cat([network(batch["image"]) for batch in loader]))
    training = fold_table(volumes_file, split, fold, "training", SEQUENCES)
    return FoldPairs(
        distances=torch.cdist(embeddings[:, 0], embeddings[:, 1]).numpy(),
        levels=np.array([LEVELS.index(name) for name in table["level"][pairs.first].tolist()]),
        persons=table["subject_id"][pairs.first],
        predicted=scores.argmax(2).numpy(),
        traces=_traces(training, table, pairs.first, pairs.second),
        rank=effective_rank(embeddings.flatten(0, 1).numpy()),
    )


def _traces(training: VolumeTable, table: VolumeTable, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    drawn = PairSampler(training).draw(10000, np.random.default_rng(0))
    judge = TracesOfAcquisition(acquisition_features(training), training["sequence"], drawn)
    return judge.distances(acquisition_features(table), table["sequence"], first)[:, second]


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


def _volume_pairs(fold: FoldPairs, distances: np.ndarray) -> tuple[np.ndarray, ...]:
    """Distance, same person, and both persons of each compared pair of volumes."""
    compared = fold.levels[:, None] == fold.levels[None]
    one, other = np.nonzero(compared)
    persons = fold.persons
    return distances[compared], persons[one] == persons[other], persons[one], persons[other]


def _column_pairs(fold: FoldPairs, distances: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same for columns: mean distance over the levels that both persons show."""
    names, place = np.unique(fold.persons.astype(str), return_inverse=True)
    total, shared = np.zeros((2, len(names), len(names)))
    one, other = np.nonzero(fold.levels[:, None] == fold.levels[None])
    np.add.at(total, (place[one], place[other]), distances[one, other])
    np.add.at(shared, (place[one], place[other]), 1)
    a, b = np.nonzero(shared >= MIN_COLUMN)
    return total[a, b] / shared[a, b], a == b, names[a], names[b]


def _auc(
    folds: Sequence[FoldPairs],
    pick: Callable[[FoldPairs, np.ndarray], tuple[np.ndarray, ...]],
    which: str = "distances",
    scanners: Mapping[str, str] | None = None,
    draws: int = 500,
) -> dict[str, Any]:
    """AUC pooled over folds, each fold's own, and an interval over patients, who are drawn whole."""
    parts = [pick(fold, getattr(fold, which)) for fold in folds]
    if scanners is not None:
        known = [
            np.array(
                [
                    bool(scanners.get(a)) and scanners.get(a) == scanners.get(b)
                    for a, b in zip(p[2], p[3], strict=True)
                ],
                bool,
            )
            for p in parts
        ]
        parts = [tuple(array[kept] for array in part) for part, kept in zip(parts, known, strict=True)]
    distances, same, first, second = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    names, places = np.unique(np.concatenate([first, second]).astype(str), return_inverse=True)
    one, other = places[: len(first)], places[len(first) :]
    rng, samples = np.random.default_rng(0), []
    for _ in range(draws):
        weight = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        # A positive pair is one patient, a negative pair is there as often as both are.
        times = np.where(same, weight[one], weight[one] * weight[other])
        samples.append(roc_auc_score(same, -distances, sample_weight=times))
    return {
        "auc": float(roc_auc_score(same, -distances)),
        "interval_95_over_patients": [float(v) for v in np.percentile(samples, [2.5, 97.5])],
        "folds": [float(roc_auc_score(part[1], -part[0])) for part in parts],
        "positive_pairs": int(same.sum()),
        "negative_pairs": int((~same).sum()),
    }


def summarize(folds: Sequence[FoldPairs], scanners: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All figures of a cross-validation.

    Args:
        folds: of :func:`embed_fold`.
        scanners: patient -> scanner model, for the control within one model.
    """
    levels = np.concatenate([fold.levels for fold in folds])
    off = np.concatenate([np.abs(fold.predicted - fold.levels[:, None]) for fold in folds])
    summary: dict[str, Any] = {
        "patients": len({person for fold in folds for person in fold.persons.tolist()}),
        "same_person": _auc(folds, _volume_pairs),
        "column": _auc(folds, _column_pairs),
        "level_accuracy": float((off == 0).mean()),
        "level_within_one": float((off <= 1).mean()),
        "level_accuracy_by_level": {
            name: float((off[levels == i] == 0).mean())
            for i, name in enumerate(LEVELS)
            if (levels == i).any()
        },
        "effective_rank": [fold.rank for fold in folds],
        "traces_of_acquisition": {
            "same_person": _auc(folds, _volume_pairs, "traces"),
            "column": _auc(folds, _column_pairs, "traces"),
        },
    }
    if scanners is not None:
        summary["within_one_scanner_model"] = {
            "same_person": _auc(folds, _volume_pairs, scanners=scanners),
            "column": _auc(folds, _column_pairs, scanners=scanners),
            "traces_of_acquisition": _auc(folds, _volume_pairs, "traces", scanners),
        }
    return summary


def _draw(folder: Path, folds: Sequence[FoldPairs]) -> None:
    parts = [_volume_pairs(fold, fold.distances)[:2] for fold in folds]
    pooled = draw_distances(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    matrix = ConfusionMatrix(list(LEVELS), title="vertebral level, all folds")
    for fold in folds:
        np.add.at(matrix.counts, (np.repeat(fold.levels, 2), fold.predicted.ravel()), 1)
    for name, figure in (("distances", pooled), ("levels", matrix(None))):
        replace_file(
            folder / f"{name}.png", lambda beside, f=figure: f.savefig(beside, dpi=120, format="png")
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. Options it does not know go to the trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", type=Path, required=True, help="folder of volumes.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", help="some folds only")
    parser.add_argument("--scanners", type=Path, help="table with patient_id and model")
    chosen, options = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen.out.mkdir(parents=True, exist_ok=True)
    if "--tracking_uri" not in options:  # one store for all trainings
        options += ["--tracking_uri", f"sqlite:///{chosen.out.resolve() / 'mlruns.db'}"]
    split, volumes_file = bundle_path(BUNDLE) / "configs" / "folds.json", chosen.dataset_dir / "volumes.csv"
    numbers = range(len(read_folds(split))) if chosen.folds is None else chosen.folds
    folds = []
    for fold in numbers:
        run = train(fold, chosen.dataset_dir, chosen.out / f"fold_{fold}", options)
        folds.append(embed_fold(run, volumes_file, split, fold))
        log.info("fold %d: %s", fold, json.dumps(summarize(folds[-1:])["same_person"]))
    summary = summarize(folds, read_scanners(chosen.scanners) if chosen.scanners else None)
    summary["volumes_sha256"] = VolumeTable.read(volumes_file).sha256
    write_json(chosen.out / "summary.json", summary)
    _draw(chosen.out, folds)
    log.info("%s", json.dumps({name: summary[name]["auc"] for name in ("same_person", "column")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

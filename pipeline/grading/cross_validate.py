"""Cross-validate the grader: each fold and seed a training by its bundle, scored on patients it has not seen.

    python -m siamed.pipeline.grading.cross_validate --crops_file crops.npz --out runs/grader_cv \\
        --pretrained "runs/siamese_discs/fold_{fold}"

Each training is a tracked run in its own folder, so the command resumes where it was stopped. Figures are
those of the last epoch: nothing is chosen on the fold that is scored. A volume is graded as the shipped
grader does it; beside it with one look at a volume without margin, and with SpineNet's nine shifts, one by
one. What is written: ``predictions.csv`` (a row a disc, task and seed), ``summary.json`` (each fold
and seed, each seed over all folds, mean and range over seeds, patient bootstrap, the ways to look, the rules
that make one grade of several probabilities, and all of it over the patients of ``--unseen``, a file of ids
that no choice of a hyper-parameter has gone by), ``confusion.png``, ``reliability.png``, and
``calibration.json``, which the bundle ships: fitted on the predictions of all folds and seeds; its figures
are of fits that left a fold out. Patients who were scanned twice on one day, in the sequence of ``--repeat``
too, say how far grades of one disc differ by repetition.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siamed.pipeline.bundles import bundle_hparams, bundle_path, run_network
from siamed.pipeline.datasets.spider import read_gradings
from siamed.pipeline.datasets.splits import fold_parts, read_folds
from siamed.pipeline.experiments.figures import ConfusionMatrix
from siamed.pipeline.experiments.files import read_json, replace_file, write_json
from siamed.pipeline.experiments.record import is_finished
from siamed.pipeline.experiments.train_fold import train_fold
from siamed.pipeline.experiments.transfer import check_left_out
from siamed.pipeline.tasks import is_ordered
from siamed.transforms.extract_volume import VIEW_MARGIN_PX

from .averaging import paper_views
from .calibration import fit_grade_calibration
from .crops import DiscCrops
from .figures import draw_reliability
from .grader import DiscGrader
from .metrics import confusion, grade_metrics
from .summary import by_rule, mean_of_seeds, pair, repeatability, second_reading, summarize
from .tasks import MISSING, TASKS, given_classes

__all__ = ["looks", "main", "score", "train", "write_results"]

log = logging.getLogger(__name__)

BUNDLE = "spine_mr_disc_grading"


def train(
    fold: int,
    seed: int,
    crops_file: Path,
    output_dir: Path,
    options: Sequence[str] = (),
    pretrained: str | None = None,
) -> Path:
    """Train one fold and seed by the bundle's configuration, or resume it; returns its folder.

    A training that has all its epochs is not started again.

    Args:
        fold: left out.
        seed: of the training.
        crops_file: disc crops.
        output_dir: of the run.
        options: words of the command line that go to the training.
        pretrained: run whose trunk it starts from, with ``{fold}`` in its path.

    Raises:
        ValueError: if the pretraining did not leave out the same fold.
    """
    words = ["--crops_file", str(crops_file), "--hparams#seed", str(seed), *options]
    if pretrained is not None and not is_finished(output_dir):
        source = Path(pretrained.format(fold=fold))
        check_left_out(source, bundle_path(BUNDLE) / "configs" / "folds.json", fold, "pretrained")
        words += ["--pretrained", str(source.absolute())]
    return train_fold(BUNDLE, fold, output_dir, words)


def looks(grader: DiscGrader, crops: DiscCrops) -> dict[str, list[torch.Tensor]]:
    """Probabilities of crops by several ways to look at a disc; ``shipped`` first."""
    rows, columns = VIEW_MARGIN_PX
    volumes = torch.from_numpy(crops.images[:, None]).float()
    nine = grader.with_views(paper_views(windows=(0,), reflected=(False,)))
    one = grader.with_views([(1.0, 0.0, 0.0)])
    return {
        "shipped": grader.probabilities(volumes),
        "one": one.probabilities(volumes[..., rows:-rows, columns:-columns]),
        "nine": nine.probabilities(volumes),
    }


def score(
    grader: DiscGrader, crops: DiscCrops, shares_by_task: Sequence[torch.Tensor], fold: int, seed: int
) -> list[dict[str, Any]]:
    """A row a labelled disc and task: truth, predicted grade, probabilities."""
    result = []
    for task, shares in zip(grader.tasks, shares_by_task, strict=True):
        truths = crops.grades[:, crops.tasks.index(task)]
        for n in np.flatnonzero(truths != MISSING):
            result.append(
                {
                    "fold": fold,
                    "seed": seed,
                    "task": task,
                    "subject_id": str(crops.subjects[n]),
                    "case_id": str(crops.cases[n]),
                    "disc": int(crops.discs[n]),
                    "truth": int(truths[n]),
                    "predicted": TASKS[task][int(given_classes(task, shares[n].numpy()))],
                    "probabilities": shares[n].numpy(),
                }
            )
    return result


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = ["fold", "seed", "task", "subject_id", "case_id", "disc", "truth", "predicted"]

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([*names, "probabilities"])
            for row in rows:
                shares = ";".join(f"{p:.4f}" for p in row["probabilities"])
                table.writerow([*(row[name] for name in names), shares])

    replace_file(path, write)


def _confusion(path: Path, rows: Sequence[dict[str, Any]], task: str) -> None:
    matrix = ConfusionMatrix([str(g) for g in TASKS[task]], title=f"{task} grade, all seeds and folds")
    matrix.counts += confusion(*pair([row for row in rows if row["task"] == task]), task)
    figure = matrix(None)
    replace_file(path, lambda beside: figure.savefig(beside, dpi=120, format="png"))


def _calibrate(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    tasks: Sequence[str],
    repeats: Sequence[dict[str, Any]],
) -> dict[str, dict[str, float]]:
    folds: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for task in tasks:
        own = [row for row in rows if row["task"] == task]
        for fold in sorted({row["fold"] for row in own}):
            members = [row for row in own if row["fold"] == fold]
            truth = np.array([TASKS[task].index(row["truth"]) for row in members])
            folds.setdefault(task, []).append((np.stack([row["probabilities"] for row in members]), truth))
    calibration, figures = fit_grade_calibration(folds)
    repeated = repeatability(rows, repeats, tasks, calibration)
    limits = {task: own["percentile_95"] for task, own in repeated.items()}
    replace(calibration, repeatability=limits).write(folder / "calibration.json", figures)
    figure = draw_reliability(folds, calibration)
    replace_file(folder / "reliability.png", lambda beside: figure.savefig(beside, dpi=120, format="png"))
    return repeated


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. Options it does not know go to the trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops_file", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sequences", nargs="+", default=["T2"], help="scans that are scored")
    parser.add_argument("--pretrained", help="pretrainings that left out each fold, a path with {fold} in it")
    parser.add_argument("--repeat", default="T2_SPACE", help="a second sequence of the same day")
    parser.add_argument(
        "--second_reader", type=Path, help="a second reading, in the form of SPIDER's gradings"
    )
    parser.add_argument("--unseen", type=Path, help="JSON list of patients that no choice has looked at")
    chosen, options = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen.out.mkdir(parents=True, exist_ok=True)
    if "--tracking_uri" not in options:  # one store for all trainings
        options += ["--tracking_uri", f"sqlite:///{chosen.out.resolve() / 'mlruns.db'}"]
    split, crops = bundle_path(BUNDLE) / "configs" / "folds.json", DiscCrops.load(chosen.crops_file)
    unseen = set(read_json(chosen.unseen) or ()) if chosen.unseen else set()
    second = read_gradings(chosen.second_reader) if chosen.second_reader else {}
    # How a disc is looked at is no part of a training.
    shipped = {name: bundle_hparams(BUNDLE)[name] for name in ("views", "dense", "windows", "reflected")}
    rows: list[dict[str, Any]] = []
    others: dict[str, list[dict[str, Any]]] = {}
    repeats: list[dict[str, Any]] = []
    for seed in chosen.seeds:
        for fold in range(len(read_folds(split))):
            out = chosen.out / f"seed_{seed}_fold_{fold}"
            run = train(fold, seed, chosen.crops_file, out, options, chosen.pretrained)
            held_out = crops.of(fold_parts(split, fold, "validation"), chosen.sequences)
            network, hparams = run_network(run)
            grader = DiscGrader.from_hparams(network, {**hparams, **shipped})
            for name, shares in looks(grader, held_out).items():
                scored = score(grader, held_out, shares, fold, seed)
                if name == "shipped":
                    rows += scored
                else:
                    others.setdefault(name, []).extend(scored)
            again = crops.of(fold_parts(split, fold, "validation"), [chosen.repeat])
            shares = grader.probabilities(torch.from_numpy(again.images[:, None]))
            repeats += score(grader, again, shares, fold, seed)
            mine = [
                row
                for row in rows
                if row["task"] == "pfirrmann" and (row["seed"], row["fold"]) == (seed, fold)
            ]
            log.info("seed %d fold %d Pfirrmann: %s", seed, fold, grade_metrics(*pair(mine)))
        write_results(chosen.out, rows, others, crops, unseen, repeats, second)
    return 0


def _by_patients(rows: list[dict[str, Any]], unseen: set[str]) -> dict[str, list[dict[str, Any]]]:
    groups = {
        "all": rows,
        "looked at": [row for row in rows if row["subject_id"] not in unseen],
        "unseen": [row for row in rows if row["subject_id"] in unseen],
    }
    return {who: own for who, own in groups.items() if own}


def write_results(
    folder: Path,
    rows: list[dict[str, Any]],
    others: Mapping[str, list[dict[str, Any]]],
    crops: DiscCrops,
    unseen: set[str],
    repeats: Sequence[dict[str, Any]] = (),
    second: Mapping[tuple[str, int], Mapping[str, int]] | None = None,
) -> None:
    """Write all files of the module.

    Args:
        folder: where to.
        rows: of :func:`score`, as the shipped grader looks.
        others: the same for other ways to look.
        crops: what was graded.
        unseen: patients whom no choice has looked at.
        repeats: rows of second scans of the same day.
        second: a second reading: (subject, disc from the lowest up) -> task -> grade.
    """
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    summary: dict[str, Any] = {
        "crops": dict(crops.info),
        "all": {task: summarize(rows, task) for task in tasks},
        "looks": {
            name: {
                who: {task: mean_of_seeds(own, task) for task in tasks}
                for who, own in _by_patients(members, unseen).items()
            }
            for name, members in {"shipped": rows, **others}.items()
        },
        "rules": {
            task: {who: by_rule(own, task) for who, own in _by_patients(rows, unseen).items()}
            for task in tasks
            if is_ordered(task)
        },
    }
    if second:
        summary["second_reading"] = {task: second_reading(rows, second, task) for task in tasks}
    held = [row for row in rows if row["subject_id"] in unseen]
    if held:
        summary["unseen"] = {"pfirrmann": summarize(held, "pfirrmann")}
    summary["repeated"] = _calibrate(folder, rows, tasks, repeats)
    _write_rows(folder / "predictions.csv", rows)
    write_json(folder / "summary.json", summary)
    _confusion(folder / "confusion.png", rows, "pfirrmann")
    log.info("Pfirrmann, mean of the seeds so far: %s", json.dumps(summary["all"]["pfirrmann"]["mean"]))


if __name__ == "__main__":
    sys.exit(main())

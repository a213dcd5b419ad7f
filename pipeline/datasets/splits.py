"""Splits by patient, as files of ids.

    python -m siamed.pipeline.datasets.splits --dataset_dir FOLDER --folds 5 --out folds.json

A split file is JSON: ``folds``, lists of subject ids, each left out once; or ``draws``, each with the lists
``training``, ``validation`` (to watch and to choose by) and ``test`` (seen by no choice); or, for one
training, these lists themselves, ``test`` where there is one. Subjects are spread so that each fold has a
similar share of each stratum (scikit-learn's StratifiedGroupKFold); a family that must stay together is one
group.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from siamed.pipeline.experiments.files import write_json

from .manifest import Manifest

__all__ = [
    "check_no_leak",
    "count_folds",
    "fold_parts",
    "held_out",
    "main",
    "make_folds",
    "read_folds",
    "watch_split",
]

log = logging.getLogger(__name__)

PARTS = ("training", "validation", "test")


def make_folds(
    subjects: Sequence[str],
    strata: Sequence[int],
    folds: int,
    seed: int,
    families: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """Subjects of each fold.

    Args:
        subjects: one entry an item (a disc, say); a subject may occur often.
        strata: stratum of each item.
        folds: number of folds.
        seed: of the shuffle.
        families: subject -> family; twins then stay in one fold.

    Raises:
        ValueError: if there are fewer groups than folds.
    """
    groups = [(families or {}).get(s, s) for s in subjects]
    if len(set(groups)) < folds:
        raise ValueError(
            f"folds must not exceed the number of subjects or families, got {folds} for {len(set(groups))}"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(subjects)), list(strata), groups)
    return [sorted({subjects[i] for i in held}, key=_order) for _, held in parts]


def _order(subject: str) -> tuple[int, str]:
    return (int(subject), "") if subject.isdigit() else (sys.maxsize, subject)


def check_no_leak(folds: Sequence[Sequence[str]], families: Mapping[str, str] | None = None) -> None:
    """Refuse a split in which a subject, or a family, is in two folds.

    Raises:
        ValueError: naming the subject or family.
    """
    seen: dict[str, int] = {}
    for index, members in enumerate(folds):
        for subject in members:
            group = (families or {}).get(str(subject), str(subject))
            if seen.setdefault(group, index) != index:
                raise ValueError(
                    f"folds must not share a subject or family, {group!r} is in folds {seen[group]} "
                    f"and {index}"
                )


def read_folds(path: str | Path) -> list[list[str]]:
    """The folds of a split file, checked for leaks; ids as strings."""
    folds = [
        [str(s) for s in members] for members in json.loads(Path(path).read_text(encoding="utf-8"))["folds"]
    ]
    if any(len(set(members)) != len(members) for members in folds):
        raise ValueError(f"split must hold each subject once, {Path(path).name} repeats one")
    check_no_leak(folds)
    return folds


def count_folds(path: str | Path) -> int:
    """How many folds, or draws, a split file has."""
    content = _content(path)
    return len(content["draws"]) if "draws" in content else len(read_folds(path))


def fold_parts(path: str | Path, fold: int | None, part: str) -> list[str]:
    """Subjects of one part of a split file.

    Args:
        path: split file.
        fold: the fold left out, or the draw; None trains on all and watches fold 0, whose subjects then train
            too. With a file of lists it must be None, with one of draws it must not.
        part: "training" or "validation"; "test" where the file has that.

    Raises:
        ValueError: if the part or the fold is not one of the split's, or parts share a subject.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {PARTS}, got {part!r}")
    lists = _lists(path, fold)
    if part not in lists:
        raise ValueError(f"part must be one of {list(lists)} for {Path(path).name}, got {part!r}")
    return lists[part]


def held_out(path: str | Path, fold: int | None) -> list[str]:
    """Subjects that a training is scored on: its test part, or its validation part where there is none.

    Args:
        path: split file.
        fold: see :func:`fold_parts`.
    """
    lists = _lists(path, fold)
    return lists.get("test", lists["validation"])


def _content(path: str | Path) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _lists(path: str | Path, fold: int | None) -> dict[str, list[str]]:
    content, name = _content(path), Path(path).name
    if "folds" in content:
        folds = read_folds(path)
        _check_fold(fold, len(folds), optional=True)
        training = [s for index, members in enumerate(folds) if index != fold for s in members]
        return {"training": training, "validation": folds[fold or 0]}
    if "draws" in content:
        _check_fold(fold, len(content["draws"]), optional=False)
        content = content["draws"][fold]
    elif fold is not None:
        raise ValueError(f"fold must be null for a split of lists, {name}, got {fold!r}")
    lists = {part: [str(s) for s in content[part]] for part in PARTS if part in content}
    check_no_leak(list(lists.values()))
    return lists


def _check_fold(fold: int | None, count: int, optional: bool) -> None:
    if fold not in range(count) and not (optional and fold is None):
        raise ValueError(f"fold must be {'null or ' * optional}one of 0 to {count - 1}, got {fold!r}")


def watch_split(subjects: Iterable[str], every: int = 5) -> tuple[list[str], list[str]]:
    """Subjects to train on and to watch by, where nobody has made a split.

    Deterministic: of the ids in order (numbers before words) every n-th is held out, the last one where there
    are fewer than ``every``. Another set of subjects holds out others, so this is for watching a pretraining,
    not for figures that are compared.

    Args:
        subjects: ids; the same one may occur often.
        every: 2 or more.

    Returns:
        Training and validation, without a common subject. A single subject is in both, and a warning is
        logged.

    Raises:
        ValueError: if there is no subject, or ``every`` is less than 2.
    """
    if every < 2:
        raise ValueError(f"every must be 2 or more, or nothing is left to train on, got {every}")
    ordered = sorted(sorted(set(subjects)), key=_order)
    if not ordered:
        raise ValueError("subjects must name at least one subject, got none")
    if len(ordered) == 1:
        log.warning("nothing is held out: all scans are of one subject, which trains and is watched")
        return ordered, list(ordered)
    held = ordered[every - 1 :: every] or ordered[-1:]
    return [s for s in ordered if s not in held], held


def _strata(manifest: Manifest) -> tuple[list[str], list[int]]:
    graded = [
        (subject, grades.get("pfirrmann", 0)) for (subject, _), grades in sorted(manifest.gradings.items())
    ]
    return [s for s, _ in graded], [g for _, g in graded]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    from .spider import spider_manifest

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    subjects, strata = _strata(spider_manifest(chosen.dataset_dir))
    folds = make_folds(subjects, strata, chosen.folds, chosen.seed)
    check_no_leak(folds)
    write_json(
        chosen.out,
        {"unit": "patient", "rule": f"stratified by Pfirrmann grade, seed {chosen.seed}", "folds": folds},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

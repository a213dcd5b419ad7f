"""How far a kidney network is right, kidney by kidney: on scans with label maps, or on maps of tissues.

    python -m siamed.pipeline.kidneys.evaluate --weights W --maps MAPS --fold 0 --out maps.json
    python -m siamed.pipeline.kidneys.evaluate --weights W --dataset_dir D --labels 2 3 --out scans.json
    python -m siamed.pipeline.kidneys.evaluate --weights R S --fold 0 1 --dataset_dir D --labels 2 3 --out o
    python -m siamed.pipeline.kidneys.evaluate --weights W --image CT --label MAP --labels 2 3 --out ct.json

W is a bundle or a training. With ``--fold`` scans of that fold's patients alone are scored, and a training
must have left them out; several trainings are pooled, each on its own fold. Every scan takes the road of
``siamed segment``: the network, 0.5 as threshold, sides by place in the patient, the largest component of
each side. Measures are those of :mod:`siamed.pipeline.segmentation.metrics` on the scan's own grid; a kidney
that is in the truth and was not found has a Dice of 0 and no distance. Maps are rendered by a seed of their
own. Written: a row a kidney, and for each origin the means with 95 % intervals over patients.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siamed.pipeline.bundles import bundle_hparams, bundle_path, load_network, run_network
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.files import read_json, write_json
from siamed.pipeline.experiments.transfer import check_left_out
from siamed.pipeline.segmentation.inference import THRESHOLD, Segmenter
from siamed.pipeline.segmentation.labelled_cases import LabelledCase, labelled_cases
from siamed.pipeline.segmentation.metrics import (
    boundary_difference,
    dice,
    hausdorff_mm,
    surface_dice,
    volume_ml,
)
from siamed.pipeline.synthesis.prepare import map_items
from siamed.pipeline.synthesis.render import rendered
from siamed.transforms.split_kidneys import LEFT, RIGHT, body_midline, split_kidneys

__all__ = ["main", "rendered_cases", "score_case", "segmented_sides", "summarize"]

log = logging.getLogger(__name__)

TOLERANCE_MM = 3.0
_MEASURES = (
    "dice",
    "hausdorff95_mm",
    "hausdorff_mm",
    "surface_dice",
    "boundary_difference_percent",
    "volume_error_ml",
)
_RESAMPLES = 2000


def segmented_sides(case: LabelledCase, segmenter: Segmenter) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Side -> what the network says and what is true, ``(I, J, K)`` bool; a side that neither has is left
    out."""
    affine = np.asarray(case.image.affine, float)
    midline = body_midline(np.asarray(case.image.as_tensor()[0]), affine)
    true = split_kidneys(case.truth, affine, midline).labels
    said = split_kidneys(segmenter(case.image) >= THRESHOLD, affine, midline, largest=True).labels
    sides = {side: (said == label, true == label) for side, label in (("right", RIGHT), ("left", LEFT))}
    return {side: (one, other) for side, (one, other) in sides.items() if one.any() or other.any()}


def score_case(case: LabelledCase, segmenter: Segmenter) -> list[dict[str, Any]]:
    """Measures of each kidney that the truth or the network has, a row each."""
    affine = np.asarray(case.image.affine, float)
    spacing = [float(s) for s in np.linalg.norm(affine[:3, :3], axis=0)]
    axis = int(np.abs(affine[2, :3] / spacing).argmax())
    rows = []
    for side, (one, other) in segmented_sides(case, segmenter).items():
        rows.append(
            {
                "case_id": case.case_id,
                "subject_id": case.subject_id,
                "origin": case.origin,
                "side": side,
                "dice": dice(one, other),
                "hausdorff95_mm": hausdorff_mm(one, other, spacing, 95),
                "hausdorff_mm": hausdorff_mm(one, other, spacing),
                "surface_dice": surface_dice(one, other, spacing, TOLERANCE_MM),
                "boundary_difference_percent": boundary_difference(one, other, axis),
                "volume_error_ml": volume_ml(one, spacing) - volume_ml(other, spacing),
            }
        )
    return rows


def summarize(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Means over kidneys with 95 % bootstrap intervals over patients; what is not finite is counted and left
    out of its mean."""
    subjects = sorted({row["subject_id"] for row in rows})
    places = {
        subject: [i for i, row in enumerate(rows) if row["subject_id"] == subject] for subject in subjects
    }
    rng = np.random.default_rng(seed)
    draws = [
        [i for s in rng.integers(len(subjects), size=len(subjects)) for i in places[subjects[s]]]
        for _ in range(_RESAMPLES if len(subjects) > 1 else 0)
    ]
    found: dict[str, Any] = {"patients": len(subjects), "kidneys": len(rows)}
    for measure in _MEASURES:
        values = np.array([row[measure] for row in rows], float)
        kept = np.isfinite(values)
        entry: dict[str, Any] = {"mean": _mean(values), "not_finite": int((~kept).sum())}
        if draws:
            means = [_mean(values[draw]) for draw in draws]
            entry["interval"] = [float(v) for v in np.nanpercentile(means, [2.5, 97.5])]
        found[measure] = entry
    for side in ("right", "left"):
        found[f"dice_{side}"] = _mean(np.array([row["dice"] for row in rows if row["side"] == side], float))
    return found


def _mean(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def rendered_cases(items: Sequence[Mapping[str, Any]], seed: int) -> Iterator[LabelledCase]:
    """Maps of tissues as cases, see :func:`~siamed.pipeline.synthesis.render.rendered`."""
    for item, image, label in rendered(items, seed):
        truth = np.asarray(label[0]) > 0
        yield LabelledCase(item["map_id"], item["subject_id"], item["origin"], image, truth)


def _maps(maps: Path, split: Path, fold: int | None, seed: int, every: int) -> Iterator[LabelledCase]:
    origins = ("kits19", "chaos")
    items = [item for origin in origins for item in map_items(maps, split, fold, "validation", [origin])]
    return rendered_cases(items[::every], seed)


def _cases(chosen: argparse.Namespace, split: Path, fold: int | None) -> Iterator[LabelledCase]:
    if chosen.maps is not None:
        return _maps(chosen.maps, split, fold, chosen.seed, chosen.every)
    if chosen.dataset_dir is not None:
        subjects = None if fold is None else fold_parts(split, fold, "validation")
        return labelled_cases(chosen.dataset_dir, chosen.labels, subjects)
    name = chosen.image.name.split(".")[0]
    return iter([LabelledCase.read(name, name, chosen.image, chosen.label, chosen.labels)])


def _record(weights: Path) -> Any:
    """``run.json`` of a training; None of a bundle."""
    return read_json(weights / "run.json") if weights.is_dir() else None


def _segmenter(weights: Path) -> Segmenter:
    if _record(weights) is not None:
        return Segmenter(*run_network(weights))
    return Segmenter(load_network(weights), bundle_hparams(weights))


def _split(chosen: argparse.Namespace) -> Path:
    """The split that was given, else that of the weights' bundle."""
    if chosen.split is not None:
        return chosen.split
    record = _record(chosen.weights[0])
    return bundle_path(record["config"]["name"] if record else chosen.weights[0]) / "configs" / "folds.json"


def _score(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of every case, by the weights that it falls to."""
    folds = chosen.maps is not None or chosen.fold is not None
    split = _split(chosen) if folds else Path()
    for weights, fold in zip(chosen.weights, chosen.fold or [None], strict=True):
        if fold is not None and _record(weights) is not None:
            check_left_out(weights, split, fold, "weights")
        segmenter = _segmenter(weights)
        for case in _cases(chosen, split, fold):
            yield from score_case(case, segmenter)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        required=True,
        help="a bundle (name or folder), or the folder of a training; several with as many --fold",
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--maps", type=Path, help="maps of tissues, those of a fold; 0 unless --fold says")
    given.add_argument("--dataset_dir", type=Path, help="scans with label maps")
    given.add_argument("--image", type=Path, help="one scan, with --label")
    parser.add_argument("--label", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 2], help="values that are kidney")
    parser.add_argument("--split", type=Path, help="file of folds; default: the bundle's")
    parser.add_argument("--fold", type=int, nargs="+", help="whose patients are scored, and no others")
    parser.add_argument("--seed", type=int, default=0, help="of the rendering")
    parser.add_argument("--every", type=int, default=1, help="one map in so many")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    if (chosen.image is None) != (chosen.label is None):
        parser.error("--image and --label go together")
    if len(chosen.weights) != len(chosen.fold or [0]):
        parser.error("--weights and --fold go together: several trainings, each with the fold it left out")
    if chosen.image is not None and chosen.fold is not None:
        parser.error("--fold goes with --dataset_dir or --maps")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = list(_score(chosen))
    if not rows:
        parser.error(
            "there must be a kidney to score: no label map of these patients was found, or none shows one"
        )
    origins = dict.fromkeys(row["origin"] for row in rows)
    summary = {o: summarize([row for row in rows if row["origin"] == o]) for o in origins}
    write_json(chosen.out, {"summary": summary, "kidneys": rows})
    for origin, figures in summary.items():
        one = figures["dice"]
        log.info(
            "%s: Dice %.3f %s, %d kidneys", origin, one["mean"], one.get("interval", ""), figures["kidneys"]
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

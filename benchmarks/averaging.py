"""Time of SpineNet's 54 looks at six discs: one by one, and by dense passes; and how far they differ.

Claim: dense averaging is at least eight times as fast as cutting each look out. Two networks: the shipped
one (one slice, a quarter of the width), whose 54 looks hold 27 different ones, and the paper's (nine slices,
full width, random weights). Modes taking turns, median over the repeats; the discs are noise. With
``--crops_file`` the probabilities of the shipped network are compared on real discs (the shifts alone: crops
have one slice).

Run: ``python benchmarks/averaging.py --out averaging.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.experiments.record import circumstances
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.averaging import dense_probabilities, paper_views
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.tasks import class_counts, given_classes
from siamed.pipeline.tasks import SPIDER

logger = logging.getLogger("averaging")

FIELD = (112, 224)


def paper_grader() -> DiscGrader:
    """SpineNet at the paper's size, with random weights."""
    tasks = [task.name for task in SPIDER]
    network = MultiTaskVGGM(class_counts(tasks), 9, FIELD, 1.0, 1024, 0.0, batch_norm=False)
    return DiscGrader(network, tasks, 9, FIELD, FIELD)


def measure(grader: DiscGrader, discs: int, repeats: int) -> dict[str, Any]:
    """Median seconds of both modes and their ratio."""
    volumes = torch.rand(discs, 1, 11, 160, 320, generator=torch.Generator().manual_seed(0))
    exact = grader.with_views(paper_views(shift_px(grader)))
    times: dict[str, list[float]] = {"exact": [], "dense": []}
    for repeat in range(repeats + 1):
        for name, work in (
            ("exact", lambda: exact.probabilities(volumes)),
            ("dense", lambda: dense_probabilities(grader, volumes)),
        ):
            start = time.perf_counter()
            work()
            if repeat:  # the first round pays for what is made once
                times[name].append(time.perf_counter() - start)
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "ratio": round(seconds["exact"] / seconds["dense"], 2),
    }


def shift_px(grader: DiscGrader) -> float:
    """Pixels of a volume to a cell of Conv5."""
    return cast(MultiTaskVGGM, grader.network).stride * grader.field_px[0] / grader.input_size[0]


def difference(grader: DiscGrader, crops: DiscCrops, count: int) -> dict[str, Any]:
    """Probabilities of both modes on real discs."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(crops))[:count])
    volumes = torch.from_numpy(crops.images[chosen]).float()[:, None]
    views = paper_views(shift_px(grader), windows=(0,), reflected=(False,))
    exact = grader.with_views(views).probabilities(volumes)
    dense = dense_probabilities(grader, volumes, windows=(0,))
    gaps = [(one - other).abs().amax(1) for one, other in zip(exact, dense, strict=True)]
    same = [
        given_classes(task, one.numpy()) == given_classes(task, other.numpy())
        for task, one, other in zip(grader.tasks, exact, dense, strict=True)
    ]
    return {
        task: {
            "largest": round(float(gap.max()), 4),
            "mean": round(float(gap.mean()), 4),
            "same_grade": round(float(alike.mean()), 4),
        }
        for task, gap, alike in zip(grader.tasks, gaps, same, strict=True)
    }


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("averaging.json"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--crops_file", type=Path, help="real discs, to compare the modes on")
    parser.add_argument("--count", type=int, default=300, help="of real discs")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shipped = DiscGrader.from_bundle()
    result: dict[str, Any] = {
        "shipped": measure(shipped, 6, args.repeats),
        "paper": measure(paper_grader(), 6, args.repeats),
        "threads": torch.get_num_threads(),
    }
    if args.crops_file is not None:
        result["difference"] = difference(shipped, DiscCrops.load(args.crops_file), args.count)
    result |= circumstances("torch")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()

"""Time of a draw and memory of the pair sampler, from ten thousand to a million volumes.

Claim: a draw takes constant time and the sampler's memory grows linearly with the volumes. The manifest is
synthetic: each subject has two visits of seven levels; one in ten has a twin. Ways taking turns, median over
the repeats. Compared with what a user would otherwise write: for a negative pair draw subjects until one is
of another family and was acquired at that level, from a data frame's rows in plain Python.

Run: ``python benchmarks/pair_sampler.py --out pair_sampler.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
import tracemalloc
from pathlib import Path

import numpy as np

from siamed.pipeline.experiments.record import circumstances
from siamed.pipeline.pairs.sampling import PairSampler
from siamed.pipeline.pairs.volumes import BODY_LEVELS, VolumeTable

logger = logging.getLogger("pair_sampler")

DRAWN = 10_000


def synthetic_table(volumes: int) -> VolumeTable:
    """So many volumes, at least: subjects of two visits and seven levels."""
    subjects = -(-volumes // (2 * len(BODY_LEVELS)))
    rows = (
        (f"s{s}", f"f{s // 2}" if s % 20 < 2 else "", f"s{s}v{visit}", str(visit), "T2", level, "x", "")
        for s in range(subjects)
        for visit in range(2)
        for level in BODY_LEVELS
    )
    return VolumeTable.from_rows(".", rows)


def by_hand(level: np.ndarray, family: np.ndarray, count: int, rng: np.random.Generator) -> int:
    """Negative pairs by trial: any two rows until level and family allow them; returns the trials."""
    trials = 0
    for _ in range(count):
        first = rng.integers(len(level))
        while True:
            trials += 1
            second = rng.integers(len(level))
            if level[first] == level[second] and family[first] != family[second]:
                break
    return trials


def measure(volumes: int, repeats: int) -> dict[str, float]:
    """Seconds to build, microseconds a draw, bytes a volume."""
    table = synthetic_table(volumes)
    start = time.perf_counter()
    PairSampler(table)
    built = time.perf_counter() - start
    tracemalloc.start()
    sampler = PairSampler(table)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rng = np.random.default_rng(0)
    own, other, families = [], [], table.families
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        sampler.draw(DRAWN, rng)
        middle = time.perf_counter()
        by_hand(table["level"], families, DRAWN // 10, rng)
        if repeat:  # the first round pays for what is made once
            own.append((middle - start) / DRAWN)
            other.append((time.perf_counter() - middle) / (DRAWN // 10))
    each = [1e6 * float(np.median(times)) for times in (own, other)]
    return {
        "volumes": len(table),
        "seconds_to_build": round(built, 3),
        "microseconds_a_draw": round(each[0], 3),
        "microseconds_a_draw_by_trial": round(each[1], 3),
        "ratio": round(each[1] / each[0], 1),
        "bytes_a_volume": round(kept / len(table), 1),
    }


def main() -> None:
    """Measure all sizes and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("pair_sampler.json"))
    parser.add_argument("--volumes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = {
        "sizes": [measure(volumes, args.repeats) for volumes in args.volumes],
        "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **circumstances("numpy"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()

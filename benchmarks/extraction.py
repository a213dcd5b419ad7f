"""Time to cut 6 discs and 7 vertebral bodies of one scan: siamed's path against MONAI's SpatialResample.

Claim: cutting all volumes of a 15 x 512 x 512 scan with one in-plane ``grid_sample`` a volume takes less time
than one call of SpatialResample a volume (which resamples in three dimensions), for the same pixels. Both
sides cut geometry alone; the time with median normalization is given beside it. One process, one thread.

Run: ``python benchmarks/extraction.py --out extraction.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample

from siamed.pipeline.experiments.record import circumstances
from siamed.transforms import ExtractDisc, ExtractVertebralBody

logger = logging.getLogger("extraction")


def make_scan() -> tuple[MetaTensor, list[np.ndarray]]:
    """Noise of 15 x 512 x 512 voxels (4.4 x 0.6 x 0.6 mm) and seven bodies that follow a lordotic curve."""
    affine = np.array([[-4.4, 0, 0, 30.0], [0, 0, -0.6, 150.0], [0, -0.6, 0, 150.0], [0, 0, 0, 1]])
    noise = torch.rand(1, 15, 512, 512, generator=torch.Generator().manual_seed(0)) + 0.1
    bodies = []
    for i in range(7):
        tilt = np.deg2rad(-12 + 7 * i)
        posterior = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
        inferior = np.array([0.0, np.sin(tilt), -np.cos(tilt)])
        center = np.array([30.0 - 7 * 4.4, 10.0 + 3 * (i - 3) ** 2 / 3, 105.0 - 36 * i])
        signs = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
        bodies.append(np.array([center + 13 * a * inferior + 17 * b * posterior for a, b in signs]))
    return MetaTensor(noise, affine=torch.from_numpy(affine)), bodies


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each repeat, after two that warm up."""
    seconds = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        work()
        if i >= 2:
            seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Time both paths in turns and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("extraction.json"))
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    image, bodies = make_scan()
    pairs = list(zip(bodies[:-1], bodies[1:], strict=True))
    disc, body = ExtractDisc(), ExtractVertebralBody()
    resample = SpatialResample(padding_mode="zeros", dtype=torch.float32)

    def siamed(normalize: bool) -> list[MetaTensor]:
        return disc.many(image, pairs, normalize=normalize) + body.many(image, bodies, normalize=normalize)

    cut = siamed(False)

    def stock() -> list[torch.Tensor]:
        return [resample(image, dst_affine=c.affine, spatial_size=c.shape[1:]) for c in cut]

    difference = max(float((a - b).abs().max()) for a, b in zip(cut, stock(), strict=True))
    times = {
        "siamed": timed(lambda: siamed(False), args.repeats),
        "siamed_with_normalization": timed(lambda: siamed(True), args.repeats),
        "monai_spatial_resample": timed(stock, args.repeats),
    }
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "claim": "6 discs and 7 vertebral bodies cut out of a 15 x 512 x 512 scan",
        "threads": torch.get_num_threads(),
        **circumstances("torch", "monai"),
        "repeats": args.repeats,
        "median_seconds": medians,
        "fastest_seconds": {name: min(values) for name, values in times.items()},
        "ratio_monai_to_siamed": medians["monai_spatial_resample"] / medians["siamed"],
        "ratio_monai_to_siamed_with_normalization": medians["monai_spatial_resample"]
        / medians["siamed_with_normalization"],
        "largest_difference_of_values": difference,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    logger.info("%s", json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

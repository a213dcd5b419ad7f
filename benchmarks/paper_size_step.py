"""Time and memory of one pretraining step at the paper's full size: 9 x 224 x 224, full width, 32 pairs.

Forward, loss, backward and SGD step of ``configs/paper.yaml``. On a GPU the whole batch is measured, in
mixed precision, with the share of the device's peak that is reached (``--peak_tflops``). On a CPU smaller
batches are measured, each in a process of its own, and memory is extrapolated linearly to 32 pairs.

Run: ``python benchmarks/paper_size_step.py --out paper_size_step.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from siamed.networks.losses.contrastive import ContrastiveLoss
from siamed.networks.losses.siamese import SiameseLoss
from siamed.networks.siamese_vgg_m import SiameseVGGM
from siamed.pipeline.experiments.record import circumstances

logger = logging.getLogger("paper_size_step")

SIZE, LEVELS, EMBEDDING, PAIRS = (9, 224, 224), 7, 1024, 32


def measure(pairs: int, steps: int, device: str) -> dict[str, Any]:
    """Seconds, peak memory and floating-point operations of a step."""
    torch.manual_seed(0)
    network = SiameseVGGM(
        LEVELS, SIZE[0], SIZE[1:], width=1.0, hidden=1024, embedding=EMBEDDING, dropout=0.0, batch_norm=False,
        conv2_stride=2, pool5=True, volumetric=True, normalize=False, bfloat16=device != "cpu",
    ).to(device)  # fmt: skip
    loss = SiameseLoss(ContrastiveLoss(1.0, "sum"), [1.0] * LEVELS, 1.0, EMBEDDING, all_pairs=False).to(
        device
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9, weight_decay=5e-4)
    images = torch.rand(pairs, 2, *SIZE, device=device)
    label = torch.zeros(pairs, 4, dtype=torch.long, device=device)

    def step() -> None:
        optimizer.zero_grad()
        loss(network(images), label).backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counted:
        step()
    times = []
    for _ in range(steps):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    on_gpu = device != "cpu"
    peak = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "pairs": pairs,
        "seconds": float(np.median(times)),
        "peak_gib": peak / 2**30,
        "tflop": counted.get_total_flops() / 1e12,
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("paper_size_step.json"))
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--peak_tflops", type=float, help="of the GPU, in bfloat16")
    parser.add_argument("--alone", action="store_true", help="measure one batch size and print it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.alone:
        sys.stdout.write(json.dumps(measure(args.pairs[0], args.steps, device)) + "\n")
        return
    sizes = [PAIRS] if device == "cuda" else args.pairs
    rows = [_alone(pairs, args.steps) for pairs in sizes]
    result: dict[str, Any] = {"device": device, "threads": torch.get_num_threads(), "sizes": rows}
    if device == "cuda":
        result["tflop_a_second"] = rows[0]["tflop"] / rows[0]["seconds"]
        if args.peak_tflops:
            result["share_of_peak"] = result["tflop_a_second"] / args.peak_tflops
    else:
        slope, offset = np.polyfit([r["pairs"] for r in rows], [r["peak_gib"] for r in rows], 1)
        pace = np.polyfit([r["pairs"] for r in rows], [r["seconds"] for r in rows], 1)
        result["extrapolated_to_32_pairs"] = {
            "peak_gib": float(offset + slope * PAIRS),
            "seconds": float(np.polyval(pace, PAIRS)),
            "tflop": rows[-1]["tflop"] / rows[-1]["pairs"] * PAIRS,
        }
    result |= circumstances("torch")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


def _alone(pairs: int, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--alone", "--pairs", str(pairs), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()

"""A training step of the liver's network in bfloat16 and in single precision, as a ratio.

Claim: a configuration that asks for bfloat16 costs nothing where the processor lacks it. Steps of the shipped
network (forward, loss, backward, AdamW; 12 slabs of 3 x 96 x 96) are taken in turn in bfloat16 whatever the
machine has, in single precision, and as the configuration asks; their medians are compared.

Run: ``python benchmarks/bfloat16_step.py --out bfloat16_step.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from siamed.networks.mixed_precision import computes_bfloat16
from siamed.networks.slab_unet import SlabUNet
from siamed.pipeline.bundles import bundle_parser
from siamed.pipeline.experiments.record import circumstances

logger = logging.getLogger("bfloat16_step")

BUNDLE = "abdomen_mr_liver_segmentation"


def step_of(bfloat16: bool, forced: bool) -> Callable[[], None]:
    """A step of a network and an optimizer of its own, on the same random slabs."""
    hparams = bundle_parser(BUNDLE, "train").get_parsed_content("hparams")
    torch.manual_seed(0)
    network = SlabUNet(
        hparams["in_channels"], 1, hparams["features"], hparams["group_size"], bfloat16=bfloat16
    )
    optimizer = torch.optim.AdamW(network.parameters())
    slabs = torch.rand(hparams["batch_size"], hparams["in_channels"], *hparams["crop"][1:])

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=forced):
            loss = network(slabs).float().square().mean()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bfloat16_step.json"))
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    steps = {
        "bfloat16": step_of(bfloat16=False, forced=True),
        "single": step_of(bfloat16=False, forced=False),
        "as_configured": step_of(bfloat16=True, forced=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(args.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:  # the first prepares kernels
                seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    result = {
        "computes_bfloat16": computes_bfloat16("cpu"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "seconds": medians,
        "to_single": {name: value / medians["single"] for name, value in medians.items()},
        **circumstances("torch"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()

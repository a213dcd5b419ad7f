"""Time to make an item of each self-supervised task, beside the time to train on it.

Claim: making items never starves the training: for every task of the bundle the random transforms take less
time an item, in one process and one thread, than the step does (forward, loss, backward, optimizer), so that
one loading process keeps up. Everything is as the bundle's train configuration has it: transforms, network,
batch size, precision. The scan is a phantom of the size that a volume of CHAOS has when it is read
(36 x 96 x 96 at 7.7 x 4 x 4 mm), already preprocessed, as it lies in the training's cache. Each repeat
makes a batch and trains on it, tasks taking turns; medians, the first round left out.

Run: ``python benchmarks/pretext_throughput.py --out pretext_throughput.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import Dataset, MetaTensor, list_data_collate
from monai.utils import set_determinism
from torch import nn

from siamed.pipeline.bundles import bundle_parser
from siamed.pipeline.experiments.record import circumstances
from siamed.pipeline.pretexts.pretrain import find_pretexts

logger = logging.getLogger("pretext_throughput")

BUNDLE = "abdomen_mr_ssl_pretraining"
SIZE, SPACING_MM = (36, 96, 96), (7.7, 4.0, 4.0)


def phantom() -> MetaTensor:
    """A body with organs, (1, D, H, W) with mean 0 and deviation 1, axes I, P, L."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    image = 100.0 * ((place[1] / 0.8) ** 2 + (place[2] / 0.9) ** 2 < 1)
    for _ in range(12):
        center, radius = rng.uniform(-0.6, 0.6, (3, 1, 1, 1)), rng.uniform(0.1, 0.3)
        image[((place - center) ** 2).sum(0) < radius**2] += rng.uniform(-50, 100)
    image += rng.normal(0, 5, SIZE)
    image = (image - image.mean()) / image.std()
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*(-np.array(SPACING_MM)), 1]
    return MetaTensor(torch.from_numpy(image[None]).float(), affine=affine)


class Task(NamedTuple):
    """What a task trains with."""

    items: Dataset
    network: nn.Module
    loss: Any
    optimizer: torch.optim.Optimizer
    batch_size: int
    device: torch.device

    @classmethod
    def of(cls, overlays: Sequence[str], device: str, scan: MetaTensor) -> Task:
        """The task of some overlays on one scan, as the train configuration builds it."""
        parser = bundle_parser(BUNDLE, "train", overlays=overlays)
        parser["device"] = f"$torch.device('{device}')"
        parser["train"]["cached"] = [{"image": scan}]
        set_determinism(parser["hparams"]["seed"])
        return cls(
            parser.get_parsed_content("train#dataset"),
            parser.get_parsed_content("network").train(),
            parser.get_parsed_content("loss_function"),
            parser.get_parsed_content("optimizer"),
            int(parser["hparams"]["batch_size"]),
            torch.device(device),
        )

    def make(self) -> dict[str, torch.Tensor]:
        """A batch, in one thread as a loading process has it."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        items = [self.items[0] for _ in range(self.batch_size)]
        torch.set_num_threads(threads)
        return list_data_collate(items)

    def train(self, batch: dict[str, torch.Tensor]) -> None:
        """A step."""
        image, label = (batch[key].to(self.device) for key in ("image", "label"))
        self.optimizer.zero_grad()
        self.loss(self.network(image), label).backward()
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(tasks: dict[str, Task], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds an item, to make and to train on, and their ratio."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            batch = task.make()
            middle = time.perf_counter()
            task.train(batch)
            if repeat:  # the first round pays for what is made once
                times[name].append((middle - start, time.perf_counter() - middle))
    found = {}
    for name, pairs in times.items():
        made, trained = 1000 * np.median(pairs, axis=0) / tasks[name].batch_size
        ratios = np.quantile([a / b for a, b in pairs], [0.5, 0.25, 0.75])
        found[name] = {
            "milliseconds_to_make": round(float(made), 3),
            "milliseconds_to_train": round(float(trained), 3),
            "ratio": round(float(ratios[0]), 3),
            "ratio_quartiles": [round(float(ratio), 3) for ratio in ratios[1:]],
        }
    return found


def main() -> None:
    """Measure all tasks and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("pretext_throughput.json"))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tasks", nargs="+", help="names; default: all")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = find_pretexts(BUNDLE)
    scan = phantom()
    tasks = {name: Task.of(known[name], device, scan) for name in args.tasks or sorted(known)}
    measured = measure(tasks, args.repeats)
    result = {
        "an_item": measured,
        "largest_ratio": max(each["ratio"] for each in measured.values()),
        "batch_size": next(iter(tasks.values())).batch_size,
        "scan": SIZE,
        "repeats": args.repeats,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        **circumstances("torch", "monai"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()

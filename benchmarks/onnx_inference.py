"""Time of each bundle's network in onnxruntime against the network itself in torch, on as many threads.

Claim: on a processor the exported network computes the same and is faster, but for the kidneys' MR encoder on
one pair, where norms that are exact in onnxruntime cost a third of the time. Both run the same inputs in
turns, a block of calls each, and each pair of blocks gives one ratio; the median is told, with quartiles. A
pause before each block lets the threads of the other library go to sleep. Run it on an idle machine: where
others work, torch's threads wait for each other far longer than onnxruntime's, and the ratio flatters. Inputs
are those of the bundle's inference where data is given, else random ones of the shape in the metadata, where
a free dimension is four multiples.

Run: ``python benchmarks/onnx_inference.py --dataset_dir spine_mr_disc_grading=OUT/volumes/ivd``.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from siamed.pipeline.bundles import bundle_path, load_network, shipped_bundles
from siamed.pipeline.experiments.record import circumstances
from siamed.pipeline.sharing.captured_inputs import captured_inputs
from siamed.pipeline.sharing.exports import export_network, free_dimensions

logger = logging.getLogger("onnx_inference")

PAUSE_S = 0.02

Work = Callable[[], object]


def random_inputs(bundle: str, count: int) -> torch.Tensor:
    """Numbers in [0, 1] of the shape that the metadata tells."""
    metadata = json.loads((bundle_path(bundle) / "configs" / "metadata.json").read_text(encoding="utf-8"))
    image, free = metadata["network_data_format"]["inputs"]["image"], free_dimensions(bundle)
    sizes = [4 * free[axis] if axis in free else size for axis, size in enumerate(image["spatial_shape"], 2)]
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, image["num_channels"], *sizes, generator=generator)


def calls_a_block(work: Work, block_s: float) -> int:
    """How many calls take so long."""
    work()
    start = time.perf_counter()
    work()
    return max(1, round(block_s / (time.perf_counter() - start)))


def block(work: Work, calls: int) -> float:
    """Seconds a call, over a block of calls."""
    time.sleep(PAUSE_S)
    work()
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def paired(eager: Work, onnx: Work, repeats: int, block_s: float) -> dict[str, Any]:
    """Milliseconds a call of both, and how many times as fast onnxruntime is, quartiles over the pairs."""
    eager_calls, onnx_calls = calls_a_block(eager, block_s), calls_a_block(onnx, block_s)
    pairs = []
    for repeat in range(repeats):
        if repeat % 2:
            second, first = block(onnx, onnx_calls), block(eager, eager_calls)
        else:
            first, second = block(eager, eager_calls), block(onnx, onnx_calls)
        pairs.append((first, second))
    times = np.array(pairs)
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    return {
        "eager_ms": round(float(np.median(times[:, 0])) * 1e3, 2),
        "onnx_ms": round(float(np.median(times[:, 1])) * 1e3, 2),
        "ratio": round(float(middle), 2),
        "quartiles": [round(float(low), 2), round(float(high), 2)],
    }


@torch.inference_mode()
def measure(
    bundle: str, inputs: torch.Tensor, batches: Sequence[int], threads: int, repeats: int, block_s: float
) -> dict[str, Any]:
    """Difference and times of one bundle's network."""
    network = load_network(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_network(network, inputs.shape[1:], file, "onnx", free_dimensions(bundle))
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    found: dict[str, Any] = {"input_shape": list(inputs.shape[1:]), "batches": {}}
    gaps = []
    for count in batches:
        image = inputs[torch.arange(count) % len(inputs)].contiguous()
        array = {"image": image.numpy()}
        gaps.append(np.abs(session.run(None, array)[0] - network(image).numpy()).max())
        found["batches"][str(count)] = paired(
            lambda image=image: network(image),
            lambda array=array: session.run(None, array),
            repeats,
            block_s,
        )
    return {"max_abs_difference": float(f"{max(gaps):.2g}"), **found}


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("onnx_inference.json"))
    parser.add_argument("--bundles", nargs="+", default=list(shipped_bundles()))
    parser.add_argument("--dataset_dir", nargs="*", default=[], metavar="BUNDLE=FOLDER")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--block_s", type=float, default=0.2, help="seconds of one block of calls")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    data = dict(pair.split("=", 1) for pair in args.dataset_dir)
    result: dict[str, Any] = {"bundles": {}, "threads": args.threads, "repeats": args.repeats}
    for bundle in args.bundles:
        count = max(args.batches)
        inputs = (
            captured_inputs(bundle, data[bundle], count) if bundle in data else random_inputs(bundle, count)
        )
        found = measure(bundle, inputs, args.batches, args.threads, args.repeats, args.block_s)
        result["bundles"][bundle] = {"inputs": "real" if bundle in data else "random", **found}
        for batch, times in found["batches"].items():
            logger.info("%s, batch %s: %s", bundle, batch, times)
    result |= circumstances("torch", "onnx", "onnxruntime")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

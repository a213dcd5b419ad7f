"""Time and memory of one ``siamed segment`` as a whole process on a CT of 512 x 512 x 600.

Claim: a long CT is segmented within 8 GB on a desktop's processor, in minutes. The scan is a body drawn
around two ellipsoids, rendered at 3 mm and resampled to 0.75 x 0.75 x 1 mm; nothing is said about how right
the outlines are. The child runs once a repeat.

Run: ``SIAMED_ID_KEY=... python benchmarks/segment_end_to_end.py --out segment_end_to_end.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

logger = logging.getLogger("segment_end_to_end")


def write_scan(path: Path, slices: int) -> None:
    """Write a CT of 512 x 512 pixels and so many slices of 1 mm."""
    from scipy import ndimage  # the parent of the measured process stays small

    from siamed.pipeline.synthesis.abdomen import draw_abdomen
    from siamed.transforms.rand_ct_appearance import draw_appearance, render_ct

    d, h, w = np.indices((36, 20, 66))
    right = ((d - 20) / 15) ** 2 + ((h - 10) / 9) ** 2 + ((w - 10) / 10) ** 2 <= 1
    left = ((d - 15) / 15) ** 2 + ((h - 10) / 9) ** 2 + ((w - 55) / 10) ** 2 <= 1
    tissues = draw_abdomen((right | left).astype(np.uint8), 3.0, np.random.default_rng(0))
    image = render_ct(tissues, draw_appearance(np.random.RandomState(0)), (3.0, 3.0, 3.0))
    wanted = (slices / 3, 128, 128)
    pads = [max(0, int(np.ceil(n - size))) for n, size in zip(wanted, image.shape, strict=True)]
    padded = np.pad(image, [(0, pads[0]), *((p // 2, p - p // 2) for p in pads[1:])], constant_values=-1000)
    fine = ndimage.zoom(padded, (3, 4, 4), order=1)[:slices, :512, :512]
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -1.0, -0.75, -0.75, 1
    nibabel.save(nibabel.Nifti1Image(np.rint(fine).astype(np.int16), affine), path)


def main() -> None:
    """Write a scan, segment it, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("segment_end_to_end.json"))
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--write", type=Path, help="write the scan to this file and do nothing else")
    chosen = parser.parse_args()
    if chosen.write is not None:
        write_scan(chosen.write, chosen.slices)
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        scan, seconds = Path(folder) / "ct.nii", []
        # A child's peak counts what its parent held when it was started: the writer is a child too.
        writer = [sys.executable, __file__, "--write", str(scan), "--slices", str(chosen.slices)]
        subprocess.run(writer, check=True)
        peak_writing = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        shape = list(nibabel.load(scan).shape)
        for number in range(chosen.repeats):
            words = ["segment", str(scan), "--out", str(Path(folder) / str(number)), "--device", "cpu"]
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "siamed.pipeline.cli", *words],
                capture_output=True,
                text=True,
                check=False,
            )
            seconds.append(round(time.perf_counter() - start, 1))
            if done.returncode:
                raise RuntimeError(f"siamed segment ended with {done.returncode}: {done.stderr[-2000:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    from siamed.pipeline.experiments.record import circumstances

    content = {
        "shape": shape,
        "seconds": seconds,
        "peak_mb": round(peak / 1024),
        "peak_mb_is_the_writer's": peak == peak_writing,
        **circumstances("torch", "monai", "numpy"),
    }
    chosen.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    logger.info("%s: %s s, %d MB", shape, seconds, content["peak_mb"])


if __name__ == "__main__":
    main()

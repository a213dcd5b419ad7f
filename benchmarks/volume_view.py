"""Time of the papers' five augmentations on a 9 x 224 x 224 volume, against stock transforms.

Claim: drawing one view and applying it in one in-plane resampling with slices as channels is at least ten
times as fast as MONAI's fused ``RandAffined`` (3-D resampling) with the same ranges and an intensity
transform. Also measured: MONAI's five stock transforms in a row; TorchIO's equivalents, where it is
installed (no dependency of siamed); and a batch of 32 volumes in one call. One thread, ways taking turns,
median over the repeats.

Run: ``python benchmarks/volume_view.py --out volume_view.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.transforms import (
    Compose,
    RandAffine,
    RandFlip,
    RandRotate,
    RandScaleIntensity,
    RandZoom,
)

from siamed.pipeline.experiments.record import circumstances
from siamed.transforms.rand_volume_view import RandVolumeViewd, apply_volume_views

logger = logging.getLogger("volume_view")

SIZE, FIELD = (9, 224, 224), (224, 224)
ANGLE_DEG, SHIFT_X, SHIFT_Y, SHIFT_SLICES, SCALE, INTENSITY = 15.0, 48, 24, 2, 0.1, 0.2


def ours() -> RandVolumeViewd:
    """The five augmentations of siamed, flip included."""
    ranges = {"angle_deg": ANGLE_DEG, "shift_x_px": SHIFT_X, "shift_y_px": SHIFT_Y, "scale": SCALE}
    return RandVolumeViewd(
        "image", FIELD, SIZE[1:], **ranges, intensity=INTENSITY, shift_slices=SHIFT_SLICES, flip=0.5
    )


def fused() -> Compose:
    """MONAI: rotation, translation and scale in one 3-D resampling, then flip and intensity."""
    affine = RandAffine(
        prob=1.0,
        rotate_range=(math.radians(ANGLE_DEG), 0, 0),
        translate_range=(SHIFT_SLICES, SHIFT_Y, SHIFT_X),
        scale_range=(0, SCALE, SCALE),
        padding_mode="zeros",
    )
    return Compose([affine, RandFlip(0.5, 0), RandScaleIntensity(INTENSITY, 1.0)])


def row() -> Compose:
    """MONAI: five stock transforms one after the other, three of which resample."""
    return Compose(
        [
            RandRotate(range_x=math.radians(ANGLE_DEG), prob=1.0, padding_mode="zeros"),
            RandAffine(prob=1.0, translate_range=(SHIFT_SLICES, SHIFT_Y, SHIFT_X), padding_mode="zeros"),
            RandZoom(1.0, (1.0, 1 - SCALE, 1 - SCALE), (1.0, 1 + SCALE, 1 + SCALE), mode="trilinear"),
            RandScaleIntensity(INTENSITY, 1.0),
            RandFlip(0.5, 0),
        ]
    )


def torchio() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """TorchIO's affine, flip and gamma; None where it is not installed."""
    try:
        import torchio as tio
    except ImportError:
        return None
    affine = tio.RandomAffine(
        scales=(1, 1, 1 - SCALE, 1 + SCALE, 1 - SCALE, 1 + SCALE),
        degrees=(-ANGLE_DEG, ANGLE_DEG, 0, 0, 0, 0),
        translation=(SHIFT_SLICES, SHIFT_Y, SHIFT_X),
        default_pad_value=0,
    )
    return tio.Compose([affine, tio.RandomFlip(0), tio.RandomGamma()])


def main() -> None:
    """Measure all ways in turns and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("volume_view.json"))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    volume, view, one_affine, five, other = torch.rand(1, *SIZE), ours(), fused(), row(), torchio()
    volumes = volume.expand(args.batch, *SIZE).contiguous()
    ways: dict[str, Callable[[], object]] = {
        "siamed": lambda: view({"image": volume}),
        "siamed, a volume of a batch": lambda: apply_volume_views(
            volumes, view.draw(args.batch), FIELD, SIZE[1:]
        ),
        "monai, one RandAffine": lambda: one_affine(volume),
        "monai, five in a row": lambda: five(volume),
    }
    if other is not None:
        ways["torchio"] = lambda: other(volume)
    else:
        logger.info("torchio is not installed, it is left out")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(args.repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repeat:  # the first round pays for what is made once
                times[name].append(time.perf_counter() - start)
    each = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    each["siamed, a volume of a batch"] /= args.batch
    result = {
        "milliseconds_a_volume": {name: round(1000 * seconds, 3) for name, seconds in each.items()},
        "ratio_to_siamed": {name: round(seconds / each["siamed"], 2) for name, seconds in each.items()},
        "size": SIZE,
        "threads": torch.get_num_threads(),
        **circumstances("torch", "monai", "torchio"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()

"""How much of each adjacent vertebra a disc volume shows, against the share of its width that the disc takes.

Recomputes the figures of decision 0015. In the middle slice of each labeled disc, the disc's box is laid as
:class:`siamed.transforms.ExtractDisc` lays it, and the share of each adjacent body's mask that falls inside
the box is counted, for a range of width fractions. Bodies and their corners come from the label map (vertebra
in front of the canal); S1 has no label, so the lowest disc counts with its upper neighbor alone. Only the
papers' six discs count: the lowest, taken as L5-S1, and the five above it.

Run: ``python benchmarks/disc_region.py DATA --out disc_region.json`` with DATA the folder ``space_half``.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation

from siamed.pipeline.experiments.record import circumstances
from siamed.transforms import geometry
from siamed.transforms.extract_disc import DISC_SIZE
from siamed.transforms.vertebral_bodies import BodyLabel, separate_bodies, vertebral_bodies

logger = logging.getLogger("disc_region")

LEVELS = ["L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1"]
FRACTIONS = [round(0.40 + 0.01 * i, 2) for i in range(41)]


def body_share(mask: np.ndarray, transform: np.ndarray, size: tuple[int, int]) -> float:
    """Share of a mask's pixels ``(H, W)`` whose centers lie inside the box of ``transform``."""
    points = np.argwhere(mask)
    inverse = np.linalg.inv(transform[1:3, 1:3])
    inside = (points - transform[1:3, 3]) @ inverse.T
    return float(((inside >= -0.5) & (inside <= np.array(size) - 0.5)).all(1).mean())


def body_of(mask: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The pixels of the body inside the quadrilateral of its corners, grown to the body's own outline."""
    rows, columns = geometry.pixels_inside(corners.mean(0) + 1.15 * (corners - corners.mean(0)), mask.shape)
    region = np.zeros_like(mask)
    region[rows, columns] = mask[rows, columns]
    return region


def measure(path: Path) -> list[dict]:
    """One record a disc of a label file: widths and heights in mm, and the shares for each fraction."""
    read, turn = (
        LoadImage(image_only=True, ensure_channel_first=True),
        Orientation(axcodes="LIP", labels=None),
    )
    label = turn(read(path))
    assert isinstance(label, MetaTensor)
    affine = label.affine.numpy()
    array = label.numpy()[0].astype(int)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    mask = separate_bodies(array)
    basis = geometry.in_plane_basis(affine)
    bodies = vertebral_bodies(array, spacing)
    records = []
    for lower, upper in zip(bodies[:-1], bodies[1:], strict=True):
        record = _disc(upper, lower, mask, basis) if lower.order < len(LEVELS) else None
        if record is not None:
            records.append({"scan": path.name.split("_")[0], "level": LEVELS[lower.order], **record})
    return records


def _disc(upper: BodyLabel, lower: BodyLabel, mask: np.ndarray, basis: np.ndarray) -> dict | None:
    common = sorted(set(upper.slice_corners) & set(lower.slice_corners))
    if not common or upper.partial or lower.partial:
        return None
    middle = common[len(common) // 2]
    above, below = upper.slice_corners[middle], lower.slice_corners[middle]
    box = geometry.quad_box(np.stack([above[3], above[2], below[1], below[0]]), basis, "disc")
    quads = [(above @ basis.T, False)] + ([] if lower.sacral else [(below @ basis.T, True)])
    shares: dict[str, list[float]] = {}
    for fraction in FRACTIONS:
        transform = geometry.box_transform(box, basis, middle, DISC_SIZE, fraction)
        bodies = [above] + ([] if lower.sacral else [below])
        shares[f"{fraction:.2f}"] = [
            body_share(body_of(mask[middle], c), transform, DISC_SIZE[1:]) for c in bodies
        ]
    height = [float(np.linalg.norm(q[[0, 1]].mean(0) - q[[2, 3]].mean(0))) for q, _ in quads]
    gap = (above[[2, 3]].mean(0) - below[[0, 1]].mean(0)) @ basis.T
    return {
        "width_mm": box.width_mm,
        "disc_height_mm": float(np.linalg.norm(gap)),
        "body_height_mm": height,
        "shares": shares,
    }


def summarize(records: list[dict]) -> dict:
    """Medians over all bodies of all discs, and the fraction whose median share is nearest to 0.40."""
    table = {}
    for fraction in FRACTIONS:
        shares = np.array([s for r in records for s in r["shares"][f"{fraction:.2f}"]])
        quartiles = np.percentile(shares, (5, 25, 50, 75, 95)).round(3).tolist()
        table[f"{fraction:.2f}"] = dict(zip(("p5", "p25", "median", "p75", "p95"), quartiles, strict=True))
    best = min(table, key=lambda f: abs(table[f]["median"] - 0.40))
    by_level = {}
    for level in LEVELS:
        here = [r for r in records if r["level"] == level]
        by_level[level] = {
            "discs": len(here),
            "width_mm": round(float(np.median([r["width_mm"] for r in here])), 1),
            "disc_height_mm": round(float(np.median([r["disc_height_mm"] for r in here])), 1),
            "median_share": round(float(np.median([s for r in here for s in r["shares"][best]])), 3),
        }
    return {
        "scans": len({r["scan"] for r in records}),
        "discs": len(records),
        "bodies": sum(len(r["body_height_mm"]) for r in records),
        "median_width_mm": float(np.median([r["width_mm"] for r in records])),
        "median_disc_height_mm": float(np.median([r["disc_height_mm"] for r in records])),
        "median_body_height_mm": float(np.median([h for r in records for h in r["body_height_mm"]])),
        "share_by_fraction": table,
        "fraction_for_40_percent": float(best),
        "by_level_at_that_fraction": by_level,
    }


def main() -> None:
    """Measure a folder of ``*_label.nii.gz`` and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with *_label.nii.gz (space_half)")
    parser.add_argument("--out", type=Path, default=Path("disc_region.json"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    files = sorted(args.data.glob("*_label.nii.gz"))
    if not files:
        parser.error(f"no *_label.nii.gz in {args.data}")
    records = [record for path in files for record in measure(path)]
    result = {
        "claim": "share of each adjacent vertebral body inside a disc volume, by width fraction",
        **circumstances("torch", "monai"),
        **summarize(records),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    logger.info("%s", json.dumps({k: v for k, v in result.items() if k != "share_by_fraction"}, indent=1))


if __name__ == "__main__":
    main()

"""Cut the region around each kidney once, as volumes that pairs of the side proxy are drawn from.

    python -m siamed.pipeline.kidneys.prepare --dataset_dir SCANS --labels 2 3 --bundle BUNDLE --out volumes
    python -m siamed.pipeline.kidneys.prepare --masks MASKS --labels 1 2 --bundle BUNDLE --out volumes
    python -m siamed.pipeline.kidneys.prepare --maps MAPS --bundle BUNDLE --out volumes
    python -m siamed.pipeline.kidneys.prepare --dataset_dir SCANS --without_labels --bundle BUNDLE --out OUT

Scans are prepared as the bundle's network will see them, kidneys are parted by side in the patient, and the
fixed region around each is cut with everything else removed [dhere2021, Sec. 2]. ``--maps`` renders an image
from each map of tissues. With ``--masks``, label maps alone, or ``--shape``, volumes show the shape: 1 in the
kidney, 0 elsewhere. Only scans with two kidneys give volumes, as a pair asks which side [D-0074].

These crops come from label maps: what the proxy learns has seen labels. ``--without_labels`` needs none: it
cuts the same region at two places that mirror each other in the body, and removes nothing [D-0075].

Beside ``volumes.csv`` lies ``outcomes.csv``: how each scan ended, and the share of each kidney inside its
region where that is known.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage
from tqdm import tqdm

from siamed.pipeline.bundles import bundle_hparams
from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.pairs.prepare import save_volume
from siamed.pipeline.pairs.volumes import KIDNEYS, VolumeTable
from siamed.pipeline.segmentation.preprocessing import preprocessing
from siamed.pipeline.synthesis.prepare import all_maps
from siamed.pipeline.synthesis.render import rendered
from siamed.transforms.kidney_region import kidney_region, region_around
from siamed.transforms.split_kidneys import LEFT, RIGHT, mirrored_places, split_kidneys

__all__ = [
    "Prepared",
    "labelled_scans",
    "main",
    "mask_manifest",
    "prepare_kidneys",
    "rendered_maps",
    "scans_without_labels",
]

log = logging.getLogger(__name__)

_STEPS = 1000  # intensities have unit variance: a thousandth of it is kept
_OUTCOMES = ("case_id", "subject_id", "outcome", "cut", "right_inside", "left_inside")
# Of adults: kidneys lie six to seven centimeters beside the spine's middle, and as far before the back.
_LATERAL_MM, _DEPTH_MM = 65.0, 70.0


@dataclass(frozen=True)
class Prepared:
    """One scan as the network sees it.

    Args:
        row: which scan of which patient.
        image: ``(1, D, H, W)``, canonical axes.
        mask: the same, 1 in kidneys; None where there is no label map.
        cut: sides that the file itself cuts.
        places: "right" and "left" -> point in RAS+ mm, where there is no mask.
    """

    row: ScanRow
    image: MetaTensor
    mask: MetaTensor | None = None
    cut: tuple[str, ...] = ()
    places: Mapping[str, np.ndarray] = field(default_factory=dict)


_Regions = dict[str, tuple[MetaTensor, str]]


def mask_manifest(folder: str | Path) -> Manifest:
    """Label maps ``NAME.nii.gz`` of a folder, each a subject of its own; the map stands for the image too.

    Raises:
        ValueError: if there is none.
    """
    root = Path(folder)
    names = sorted(path.name for path in root.glob("*.nii.gz"))
    if not names:
        raise ValueError(f"masks must be a folder of label maps NAME.nii.gz, {root.name!r} holds none")
    stems = [name.removesuffix(".nii.gz") for name in names]
    return Manifest(root, tuple(ScanRow(s, s, "", n, n) for s, n in zip(stems, names, strict=True)), {})


def labelled_scans(
    manifest: Manifest, labels: Sequence[int], hparams: Mapping[str, Any], shape: bool
) -> Iterator[Prepared]:
    """Scans with label maps.

    Args:
        manifest: of the scans; those without a label map are left out.
        labels: values of the label maps that are kidney, or belong to one.
        hparams: of the bundle: how scans are prepared.
        shape: the mask is shown in the image's place.
    """
    prepare = preprocessing(hparams, labels)
    for scan in _shown([row for row in manifest.scans if row.label]):
        seen = prepare({key: str(manifest.root / getattr(scan, key)) for key in ("image", "label")})
        file = nibabel.Nifti1Image.from_filename(manifest.root / scan.label)
        # As the file has it: what is padded afterwards hides a cut.
        cut = split_kidneys(np.isin(np.asarray(file.dataobj), labels), np.asarray(file.affine)).cut
        image = seen["label"].float() if shape else seen["image"]
        yield Prepared(scan, image, seen["label"], cut)


def scans_without_labels(manifest: Manifest, hparams: Mapping[str, Any]) -> Iterator[Prepared]:
    """Scans alone, and where their body says that kidneys are to be expected."""
    load, prepare = LoadImage(ensure_channel_first=True), preprocessing(hparams, load=False)
    for scan in _shown(manifest.scans):
        image = load(manifest.root / scan.image)
        places = mirrored_places(
            np.asarray(image.as_tensor()[0]), np.asarray(image.affine), _LATERAL_MM, _DEPTH_MM
        )
        seen = prepare({"image": image})["image"]
        yield Prepared(scan, seen, places=places)


def rendered_maps(maps: Path, hparams: Mapping[str, Any], seed: int, shape: bool) -> Iterator[Prepared]:
    """Images rendered from maps of tissues, one of each."""
    prepare = preprocessing(hparams, [1], load=False)
    for item, image, label in rendered(all_maps(maps), seed):
        cut = split_kidneys(np.asarray(label[0]) > 0, np.asarray(label.affine)).cut
        seen = prepare({"image": image, "label": label})
        shown = seen["label"].float() if shape else seen["image"]
        row = ScanRow(item["map_id"], item["subject_id"], "CT", item["tissues"], item["tissues"])
        yield Prepared(row, shown, seen["label"], cut)


def _shown(scans: Sequence[ScanRow]) -> Iterator[ScanRow]:
    return iter(tqdm(scans, desc="scans", mininterval=5.0, disable=not sys.stderr.isatty()))


def _kidneys_alone(image: MetaTensor, mask: MetaTensor, size: Sequence[int]) -> tuple[str, _Regions]:
    """How the mask splits; of two kidneys the region around each, everything else removed, and the share of
    the kidney inside it, as text."""
    split = split_kidneys(np.asarray(mask.as_tensor()[0]), np.asarray(mask.affine))
    found: _Regions = {}
    for side, label in (("right", RIGHT), ("left", LEFT)):
        if split.outcome == "two_kidneys":
            own = torch.from_numpy(split.labels == label)[None]
            volume, share = kidney_region(image, own, size, 0.0)
            found[side] = (volume, f"{share:.4f}")
    return split.outcome, found


def _mirrored(
    image: MetaTensor, places: Mapping[str, np.ndarray], size: Sequence[int]
) -> tuple[str, _Regions]:
    """The regions around two places, with all that is in them."""
    to_voxel = np.linalg.inv(np.asarray(image.affine, float))
    found: _Regions = {}
    for side, place in places.items():
        middle = np.rint(to_voxel[:3, :3] @ place + to_voxel[:3, 3]).astype(int).tolist()
        found[side] = (region_around(image, middle, size, 0.0)[0], "")
    return "mirrored", found


def prepare_kidneys(scans: Iterable[Prepared], size: Sequence[int], out: str | Path) -> VolumeTable:
    """Cut and write; see the module.

    Args:
        scans: with a mask, whose kidneys are cut out, or with places.
        size: voxels of a volume.
        out: folder to write to.

    Raises:
        ValueError: if no scan shows two kidneys.
    """
    rows: list[Sequence[str]] = []
    outcomes: list[Sequence[str]] = []
    for scan in scans:
        row = scan.row
        if scan.mask is not None:
            outcome, found = _kidneys_alone(scan.image, scan.mask, size)
        else:
            outcome, found = _mirrored(scan.image, scan.places, size)
        for level in KIDNEYS:
            side = level.split()[0]
            if side in found:
                path = Path("volumes", row.case_id, f"{level.replace(' ', '_')}.nii.gz")
                digest = save_volume(Path(out) / path, found[side][0], _STEPS, np.int16)
                person = (row.subject_id, row.family_id, row.case_id, row.order, row.sequence)
                rows.append((*person, level, path.as_posix(), digest))
        shares = [found[side][1] if side in found else "" for side in ("right", "left")]
        outcomes.append((row.case_id, row.subject_id, outcome, " ".join(scan.cut), *shares))
    _write_outcomes(Path(out) / "outcomes.csv", outcomes)
    counts = Counter(outcome for _, _, outcome, *_ in outcomes)
    log.info("%s", ", ".join(f"{name}: {count}" for name, count in counts.most_common()))
    if not rows:
        raise ValueError(f"scans must show two kidneys, none of {len(outcomes)} does")
    table = VolumeTable.from_rows(out, rows)
    table.write()
    return table


def _write_outcomes(path: Path, rows: Sequence[Sequence[str]]) -> None:
    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_OUTCOMES, *rows])

    replace_file(path, write)


def _scans(chosen: argparse.Namespace, hparams: Mapping[str, Any]) -> Iterator[Prepared]:
    if chosen.maps is not None:
        return rendered_maps(chosen.maps, hparams, chosen.seed, chosen.shape)
    if chosen.masks is not None:
        return labelled_scans(mask_manifest(chosen.masks), chosen.labels, hparams, shape=True)
    manifest = segmentation_manifest(chosen.dataset_dir)
    if chosen.without_labels:
        return scans_without_labels(manifest, hparams)
    return labelled_scans(manifest, chosen.labels, hparams, chosen.shape)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--dataset_dir", type=Path, help="scans with label maps")
    given.add_argument("--masks", type=Path, help="a folder of label maps alone")
    given.add_argument("--maps", type=Path, help="maps of tissues, of siamed.pipeline.synthesis.prepare")
    parser.add_argument("--labels", type=int, nargs="+", help="values that are kidney")
    parser.add_argument("--without_labels", action="store_true", help="places by the body's symmetry alone")
    parser.add_argument("--bundle", required=True, help="its hyper-parameters say how scans are prepared")
    parser.add_argument("--out", type=Path, required=True, help="folder for the volumes and volumes.csv")
    parser.add_argument("--shape", action="store_true", help="show the shape alone")
    parser.add_argument("--seed", type=int, default=0, help="of the rendering of maps")
    parser.add_argument("--spacing_mm", type=float, nargs=3, help="in the place of the bundle's")
    parser.add_argument("--region", type=int, nargs=3, help="in the place of the bundle's")
    chosen = parser.parse_args(arguments)
    if chosen.without_labels and (chosen.dataset_dir is None or chosen.shape or chosen.labels):
        parser.error("--without_labels goes with --dataset_dir, and with neither --labels nor --shape")
    if chosen.maps is None and not chosen.without_labels and not chosen.labels:
        parser.error("--labels must say which values are kidney")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given_here = {name: getattr(chosen, name) for name in ("spacing_mm", "region")}
    hparams = {**bundle_hparams(chosen.bundle), **{k: v for k, v in given_here.items() if v is not None}}
    prepare_kidneys(_scans(chosen, hparams), hparams["region"], chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Draw maps of tissues around real kidneys, once; images are rendered from them while training.

    python -m siamed.pipeline.synthesis.prepare --masks KITS19_MASKS --organs CHAOS --out maps --each 2

``maps/NAME.nii.gz`` (``uint8``, numbers of :data:`siamed.transforms.tissues.TISSUES`) and ``maps.csv``:
``map_id``, ``subject_id``, ``origin`` (``kits19``: a drawn body around the kidneys of a KiTS19 mask;
``chaos``: the body of a CHAOS scan, clustered), ``path``, ``sha256``. The subject is the patient whose
kidneys a map shows, so that splits by subject keep a patient's maps together. Masks with a single kidney are
drawn too, whose side nobody can tell: sides play no part here.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import nibabel
import numpy as np
from tqdm import tqdm

from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.files import replace_file, sha256_of

from .abdomen import draw_abdomen
from .mr_bodies import canonical, cubic, mr_body, organs_of

__all__ = ["MapRow", "all_maps", "main", "map_items", "prepare_maps", "write_maps"]

log = logging.getLogger(__name__)

TABLE = "maps.csv"
_KIDNEY, _TUMOR = 1, 2  # of KiTS19


@dataclass(frozen=True)
class MapRow:
    """One map; see the module."""

    map_id: str
    subject_id: str
    origin: str
    path: str
    sha256: str

    @classmethod
    def save(
        cls, out: Path, name: str, subject: str, origin: str, tissues: np.ndarray, spacing_mm: float
    ) -> MapRow:
        """Write a map in the canonical axes; the same map gives the same bytes."""
        affine = np.zeros((4, 4))  # D to the feet, H to the back, W to the left, in RAS+ mm
        affine[2, 0] = affine[1, 1] = affine[0, 2] = -spacing_mm
        affine[3, 3] = 1
        image = nibabel.Nifti1Image(tissues, affine)
        image.header.set_xyzt_units("mm")
        path, packed = Path("maps", f"{name}.nii.gz"), gzip.compress(image.to_bytes(), 1, mtime=0)
        replace_file(out / path, lambda beside: beside.write_bytes(packed))
        return cls(name, subject, origin, path.as_posix(), sha256_of(out / path))


def prepare_maps(
    masks: Path, organs: Path | None, out: Path, spacing_mm: float, each: int, seed: int
) -> list[MapRow]:
    """Draw and write.

    Args:
        masks: folder of kidney masks ``NAME.nii.gz`` (1 kidney, 2 tumor), cropped or not.
        organs: folder of MR scans with label maps, for livers, spleens and real bodies; None for none.
        out: folder to write to.
        spacing_mm: edge of a voxel.
        each: maps of each patient.
        seed: of all that is drawn; a map depends on the seed, its name and nothing else.

    Raises:
        ValueError: if there is no mask.
    """
    names = sorted(masks.glob("*.nii.gz"))
    if not names:
        raise ValueError(f"masks must hold NAME.nii.gz, {masks.name!r} holds none")
    scans = [row for row in segmentation_manifest(organs).scans if row.label] if organs is not None else []
    found = [organs_of(organs / row.label, spacing_mm) for row in scans] if organs is not None else []
    rows = []
    work = [(path, number) for path in names for number in range(each)]
    for index, (path, number) in enumerate(_progress(work, "drawn bodies")):
        subject = path.name.removesuffix(".nii.gz")
        rng = np.random.default_rng([seed, index])
        labels, spacing = canonical(path)
        low, high = np.argwhere(labels).min(0), np.argwhere(labels).max(0) + 1
        labels = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        kidneys, tumor = (cubic(part, spacing, spacing_mm) for part in (labels > 0, labels == _TUMOR))
        whole = kidneys.astype(np.uint8) * _KIDNEY
        whole[kidneys & tumor] = _TUMOR
        donor = found[rng.integers(len(found))] if found else None
        tissues = draw_abdomen(whole, spacing_mm, rng, donor)
        rows.append(MapRow.save(out, f"{subject}_{number}", subject, "kits19", tissues, spacing_mm))
    for index, (row, number) in enumerate(_progress([(r, n) for r in scans for n in range(each)], "bodies")):
        rng = np.random.default_rng([seed, len(work) + index])
        tissues = mr_body(organs / row.image, organs / row.label, spacing_mm, rng)  # type: ignore[operator]
        name, subject = f"chaos_{row.case_id}_{number}", f"chaos_{row.subject_id}"
        rows.append(MapRow.save(out, name, subject, "chaos", tissues, spacing_mm))
    write_maps(out, rows)
    return rows


def _progress(work: Sequence[tuple[object, int]], what: str) -> Iterator:
    return iter(tqdm(work, desc=what, mininterval=5.0, disable=not sys.stderr.isatty()))


def write_maps(out: Path, rows: Sequence[MapRow]) -> None:
    """Write ``maps.csv``, whole or not at all."""

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([field.name for field in fields(MapRow)])
            table.writerows(astuple(row) for row in rows)

    replace_file(out / TABLE, write)


def all_maps(dataset_dir: str | Path) -> list[dict[str, str]]:
    """Items ``tissues`` (path), ``map_id``, ``subject_id`` and ``origin`` of a folder of maps."""
    with (Path(dataset_dir) / TABLE).open(encoding="utf-8", newline="") as file:
        rows = [MapRow(**row) for row in csv.DictReader(file)]
    return [
        {
            "tissues": str(Path(dataset_dir) / row.path),
            "map_id": row.map_id,
            "subject_id": row.subject_id,
            "origin": row.origin,
        }
        for row in rows
    ]


def map_items(
    dataset_dir: str | Path, split: str | Path, fold: int | None, part: str, origins: Sequence[str]
) -> list[dict[str, str]]:
    """Maps of one part of a split; what a training's configuration asks for.

    Args:
        dataset_dir: folder that :func:`prepare_maps` wrote.
        split: file of folds of subject ids.
        fold: the fold left out; None trains on all and watches fold 0.
        part: "training" or "validation".
        origins: which maps: "kits19", "chaos".

    Returns:
        Items as of :func:`all_maps`.

    Raises:
        ValueError: if there is none.
    """
    subjects = set(fold_parts(split, fold, part))
    items = [
        item for item in all_maps(dataset_dir) if item["subject_id"] in subjects and item["origin"] in origins
    ]
    if not items:
        raise ValueError(
            f"dataset_dir must hold maps of the split's {part} part, it holds none of {list(origins)}"
        )
    return items


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, required=True, help="kidney masks NAME.nii.gz, KiTS19's labels")
    parser.add_argument("--organs", type=Path, help="MR scans with label maps, CHAOS's labels")
    parser.add_argument("--out", type=Path, required=True, help="folder for the maps and maps.csv")
    parser.add_argument("--spacing_mm", type=float, default=3.0)
    parser.add_argument("--each", type=int, default=1, help="maps of each patient")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = prepare_maps(chosen.masks, chosen.organs, chosen.out, chosen.spacing_mm, chosen.each, chosen.seed)
    log.info("%d maps of %d patients", len(rows), len({row.subject_id for row in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

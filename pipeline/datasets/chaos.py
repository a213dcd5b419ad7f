"""CHAOS as its challenge ships it, DICOM with PNG label maps, converted to NIfTI.

    python -m siamed.pipeline.datasets.chaos --source CHAOS/Train_Sets/MR --sequence T2SPIR --out FOLDER

``MR/<id>/T2SPIR/DICOM_anon/*.dcm`` with ``T2SPIR/Ground/*.png``; ``T1DUAL/DICOM_anon/InPhase`` and
``OutPhase`` with one ``T1DUAL/Ground`` for both; ``CT/<id>/DICOM_anon`` with ``Ground``. Written:
``NN_image.nii.gz`` and ``NN_label.nii.gz``, NN the challenge's own number of the patient, on the grid and
with the affine of the series; a case without ``Ground`` (the challenge's test sets) gives an image alone.
Patients of MR and CT with the same number are different people: give each sequence a folder of its own.

Labels written: 1 liver, 2 right kidney, 3 left kidney, 4 spleen. The challenge gives each organ of MR a range
of gray values: 55-70 (stored: 63), 110-135 (126), 175-200 (189), 240-255 (252); in CT 255 is the liver.

Which picture belongs to which slice is nowhere written; it is assumed that both are counted alike: the n-th
PNG by name is drawn on the n-th DICOM file by name. In ``T2SPIR`` the names are equal but for their endings.
The slice then lies where its DICOM header says, whatever its name.

A case that fails (``label-slices``: unlike numbers of files, ``label-size``, ``label-values``, or a code of
``docs/decisions/0014``) is a row of ``cases.csv``, and what an earlier run left of it is removed [D-0046].
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamed.pipeline.cases import Outcome
from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans import Case, Scan, read_scan

from .conversion import convert_cases, is_failure, write_volume

__all__ = ["SEQUENCES", "ChaosSequence", "convert_chaos", "main"]

log = logging.getLogger(__name__)

_LIVER, _RIGHT_KIDNEY, _LEFT_KIDNEY, _SPLEEN = 1, 2, 3, 4
_UNKNOWN = 255
_MR_GRAYS = {(55, 70): _LIVER, (110, 135): _RIGHT_KIDNEY, (175, 200): _LEFT_KIDNEY, (240, 255): _SPLEEN}
_CT_GRAYS = {(255, 255): _LIVER}


@dataclass(frozen=True)
class ChaosSequence:
    """Where the files of a sequence lie below a patient's folder.

    Args:
        series: folder of DICOM files.
        ground: folder of label maps.
        grays: first and last gray value of an organ -> its label.
    """

    series: str
    ground: str
    grays: Mapping[tuple[int, int], int]


SEQUENCES = {
    "T2SPIR": ChaosSequence("T2SPIR/DICOM_anon", "T2SPIR/Ground", _MR_GRAYS),
    "T1DUAL-InPhase": ChaosSequence("T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground", _MR_GRAYS),
    "T1DUAL-OutPhase": ChaosSequence("T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground", _MR_GRAYS),
    "CT": ChaosSequence("DICOM_anon", "Ground", _CT_GRAYS),
}


def convert_chaos(source: str | Path, sequence: str, out: str | Path) -> list[Outcome]:
    """Convert one sequence of all patients, see the module.

    Args:
        source: folder of patients, ``Train_Sets/MR`` for example.
        sequence: one of :data:`SEQUENCES`.
        out: folder for the volumes and ``cases.csv``; made where absent.

    Returns:
        An outcome a patient; ``reading`` is the path of the image.

    Raises:
        ValueError: if there is no such sequence, or no patient in ``source`` has it.
    """
    source, out = Path(source), Path(out)
    if sequence not in SEQUENCES:
        raise ValueError(f"sequence must be one of {list(SEQUENCES)}, got {sequence!r}")
    places = SEQUENCES[sequence]
    numbers = [p.name for p in source.glob("*") if re.fullmatch(r"[1-9]\d*", p.name)]
    if not any((source / number / places.series).is_dir() for number in numbers):
        raise ValueError(
            f"source must hold <id>/{places.series} for {sequence}, {source.name!r} holds none: give the "
            f"folder {'CT' if sequence == 'CT' else 'MR'} of Train_Sets or Test_Sets"
        )
    cases = [Case(f"{int(number):02d}", source / number) for number in sorted(numbers, key=int)]
    return convert_cases(cases, lambda case: _convert(case, places, out), out)


def _convert(case: Case, places: ChaosSequence, out: Path) -> Path:
    image_file, label_file = (out / f"{case.case_id}_{kind}.nii.gz" for kind in ("image", "label"))
    for file in (image_file, label_file):
        file.unlink(missing_ok=True)
    scan = read_scan(case.path / places.series, body_part="abdomen")
    affine = np.asarray(scan.image.affine)
    ground = case.path / places.ground
    if ground.is_dir():
        write_volume(label_file, _label_map(scan, ground, places.grays), affine)
    # The image last: where it is, the label map is too.
    return write_volume(image_file, np.asarray(scan.image.as_tensor()[0]), affine)


def _label_map(scan: Scan, ground: Path, grays: Mapping[tuple[int, int], int]) -> np.ndarray:
    """Label map on the scan's grid, ``(I, J, K)`` uint8."""
    files = sorted({frame.path for frame in scan.frames}, key=lambda path: path.name)
    pictures = sorted(path for path in ground.glob("*.png") if not path.name.startswith("."))
    if not len(pictures) == len(files) == len(scan.frames):
        raise CaseError(
            "label-slices",
            f"{len(pictures)} PNG label maps for a series of {len(scan.frames)} slices in {len(files)} files",
            path=ground,
            hint="Load the case again; label maps are matched with slices by their order.",
        )
    labels = np.full(256, _UNKNOWN, np.uint8)
    labels[0] = 0
    for (first, last), label in grays.items():
        labels[first : last + 1] = label
    picture_of = dict(zip(files, pictures, strict=True))
    slices = [_read_label(picture_of[frame.path], labels) for frame in scan.frames]
    columns, rows = scan.image.shape[1:3]
    for one, frame in zip(slices, scan.frames, strict=True):
        if one.shape != (columns, rows):
            raise CaseError(
                "label-size",
                f"a label map of {one.shape[0]} x {one.shape[1]} pixels for a slice of {columns} x {rows}",
                path=picture_of[frame.path],
                hint="Load the case again.",
            )
    return np.stack(slices, axis=-1)


def _read_label(path: Path, labels: np.ndarray) -> np.ndarray:
    """Labels of one PNG as ``(columns, rows)``, the order of a scan's first two axes."""
    from matplotlib.image import imread

    try:
        grays = imread(path, format="png") * 255.0  # gives shares of the largest value, of whatever bit depth
    except Exception as error:  # a broken file may raise anything, and must not end a batch
        raise CaseError(
            "unreadable-file",
            f"a label map cannot be read ({type(error).__name__})",
            path=path,
            hint="Load the case again.",
        ) from error
    whole = np.rint(grays).astype(int)
    if grays.ndim != 2 or np.abs(grays - whole).max() > 0.01:
        raise CaseError(
            "label-values",
            f"a label map must be an 8-bit gray picture, it has shape {grays.shape}",
            path=path,
            hint="Give the PNG files as the challenge ships them.",
        )
    found = labels[whole]
    if (found == _UNKNOWN).any():
        raise CaseError(
            "label-values",
            f"a label map holds the gray values {np.unique(whole[found == _UNKNOWN]).tolist()}, which are no "
            "organ's",
            path=path,
            hint="Give the PNG files as the challenge ships them, and the sequence they belong to.",
        )
    return found.T


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="folder of patients: Train_Sets/MR or CT")
    parser.add_argument("--sequence", choices=list(SEQUENCES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the volumes and cases.csv")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        outcomes = convert_chaos(chosen.source, chosen.sequence, chosen.out)
    except ValueError as error:
        parser.error(str(error))
    failed = sum(is_failure(one) for one in outcomes)
    log.info("%d cases converted, %d failed: see cases.csv", len(outcomes) - failed, failed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

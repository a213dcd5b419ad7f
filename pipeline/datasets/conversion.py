"""A batch of scans converted to NIfTI: a case that fails is a row of ``cases.csv``, the others go on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from tqdm import tqdm

from siamed.pipeline.case_files import save_nifti, table, write_text
from siamed.pipeline.cases import CASE_COLUMNS, Outcome, case_row, run_case
from siamed.pipeline.experiments.files import replace_file
from siamed.pipeline.scans import Case

__all__ = ["convert_cases", "is_failure", "write_volume"]

log = logging.getLogger(__name__)


def convert_cases(
    cases: Sequence[Case], work: Callable[[Case], Any], out: Path, skipped: Collection[str] = ()
) -> list[Outcome]:
    """Convert case by case, with a bar where the error stream is a terminal.

    ``cases.csv`` in ``out`` is brought up to date after each case. As in all batches it is the one file that
    names paths [D-0046].

    Args:
        cases: what to convert.
        work: converts one case and writes its files.
        out: folder; made where absent.
        skipped: codes of :class:`~siamed.pipeline.errors.CaseError` that say that a case is none to convert;
            its row says "skipped", not "failed".

    Returns:
        An outcome a case.
    """
    outcomes, rows = [], []
    for case in tqdm(cases, desc="scans", mininterval=1.0, disable=not sys.stderr.isatty()):
        outcome = run_case(case, work)
        outcomes.append(outcome)
        rows.append(case_row(outcome))
        if outcome.failure is not None:
            level = logging.WARNING if is_failure(outcome, skipped) else logging.INFO
            log.log(level, "%s: %s. %s", case.case_id, outcome.failure.reason, outcome.failure.hint)
            if level == logging.INFO:
                rows[-1]["status"] = "skipped"
        write_text(out / "cases.csv", table(CASE_COLUMNS, rows))
    return outcomes


def is_failure(outcome: Outcome, skipped: Collection[str] = ()) -> bool:
    """Whether a case failed, and was not just passed over."""
    return outcome.failure is not None and outcome.failure.code not in skipped


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume as NIfTI, whole or not at all; the same volume gives the same bytes.

    Args:
        path: ends in ``.nii.gz``.
        array: ``(I, J, K)``; floating-point values that are all 16-bit integers are stored as such, without
            loss.
        affine: 4x4, voxel index to RAS+ mm.
    """
    if array.dtype.kind == "f" and np.abs(array).max() <= np.iinfo(np.int16).max:
        stored = array.astype(np.int16)
        array = stored if (stored == array).all() else array
    image = nibabel.Nifti1Image(array, np.asarray(affine, float))
    image.header.set_xyzt_units("mm")
    return replace_file(path, partial(save_nifti, image))

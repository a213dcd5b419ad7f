"""A good scan as a file, the means to break it, and what the error must be like."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from siamed.pipeline.scans import CaseError, read_scan

__all__ = ["AFFINE", "ARRAY", "assert_named", "delete", "edit", "nifti"]

ARRAY = np.random.default_rng(3).integers(0, 900, (7, 16, 20)).astype(np.int16)
AFFINE = np.diag([4.0, 0.6, 0.5, 1.0])


def edit(paths: Sequence[Path], change: Callable[[int, Dataset], None]) -> None:
    """Change DICOM files in place, given the number and the content of each."""
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        change(k, ds)
        ds.save_as(path)


def delete(keyword: str) -> Callable[[int, Dataset], None]:
    """A change that takes an element away."""
    return lambda k, ds: delattr(ds, keyword)


def nifti(
    folder: Path,
    array: np.ndarray = ARRAY,
    affine: np.ndarray = AFFINE,
    name: str = "t2.nii.gz",
    codes: tuple[int, int] = (1, 1),
) -> Path:
    """A NIfTI file in a folder; ``codes`` are those of its sform and its qform."""
    folder.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine if codes[1] else None, codes[1])
    nibabel.save(image, folder / name)
    return folder / name


def assert_named(place: Path, code: str, match: str, identifying: Sequence[str], caplog: Any) -> None:
    """Reading ends in the error of this code, with a way out, and nothing that names the patient."""
    caplog.set_level(logging.DEBUG, logger="siamed")
    with pytest.raises(CaseError, match=match) as caught:
        read_scan(place)
    assert caught.value.code == code
    assert caught.value.hint
    assert caught.value.path is not None
    text = str(caught.value) + caplog.text + "".join(traceback.format_exception(caught.value))
    assert not [part for part in identifying if part in text]

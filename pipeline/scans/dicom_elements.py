"""Read elements of a DICOM header whatever their form: a value as it is meant, or None where it is absent."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.config
from pydicom.dataset import Dataset

from siamed.pipeline.errors import CaseError

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep remarks of pydicom and highdicom on odd values from showing: they quote the value, which may be a
    patient's."""
    logger, mute = logging.getLogger("pydicom"), logging.NullHandler()
    propagate = logger.propagate
    logger.propagate = False
    logger.addHandler(mute)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(mute)
        logger.propagate = propagate


def first_item(ds: Dataset, keyword: str) -> Dataset:
    """First item of a sequence, an empty data set where there is none."""
    items = ds.get(keyword)
    return items[0] if items else Dataset()


def functional_group(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    """Return a functional group: the frame's own, else the shared one, else an empty data set."""
    own = first_item(groups[0], keyword)
    return own if len(own) else first_item(groups[1], keyword)


def text_of(ds: Dataset, keyword: str) -> str:
    """Text without the spaces around it, empty where it is absent."""
    value = ds.get(keyword)
    return "" if value is None else str(value).strip()


def image_type_of(ds: Dataset, keyword: str = "ImageType") -> tuple[str, ...]:
    """Values of Image Type or Frame Type."""
    value = ds.get(keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def color_of(ds: Dataset) -> str:
    """Return the Photometric Interpretation; an unnamed one-sample image is taken as MONOCHROME2."""
    samples = number_of(ds, "SamplesPerPixel")
    named = text_of(ds, "PhotometricInterpretation")
    if samples is not None and samples > 1:
        return named if named and named not in MONOCHROME else f"{samples:.0f} samples a pixel"
    return named or "MONOCHROME2"


def numbers_of(ds: Dataset, keyword: str, length: int | None = None) -> np.ndarray | None:
    """Return a value as finite floats, or None where it is absent, of another length or no number."""
    try:
        value = ds.get(keyword)
        if value is None or isinstance(value, str) and not value.strip():
            return None
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        return None
    if not len(numbers) or (length is not None and len(numbers) != length) or not np.isfinite(numbers).all():
        return None
    return numbers


def number_of(ds: Dataset, keyword: str) -> float | None:
    """A finite number, or None."""
    numbers = numbers_of(ds, keyword)
    return None if numbers is None else float(numbers[0])


def truncated(path: Path, what: str) -> CaseError:
    """The error of a file that ends too soon."""
    return CaseError(
        "truncated-file",
        f"a DICOM file is truncated: {what}",
        path=path,
        hint="Copy the file again from its source.",
    )

"""A small sagittal study of a patient whose name must never be seen again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.scans.write_dicom import write_series

PATIENT_ID, PATIENT_NAME = "SECRET-4711", "Doe^Jane"
# Columns run backward, rows downward, slices to the left, 4 mm apart: "PIL".
SAGITTAL = np.array([[0, 0, -4, 12.0], [-0.5, 0, 0, 30], [0, -0.6, 0, 40], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def id_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key of the tests' own; the user's configuration folder is never touched."""
    monkeypatch.setenv("SIAMED_ID_KEY", "a key for tests")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def identifying() -> tuple[str, ...]:
    """What must appear nowhere: the id and the parts of the name that the written files carry."""
    return (PATIENT_ID, *PATIENT_NAME.split("^"))


@pytest.fixture
def volume() -> np.ndarray:
    """Shape (16, 20, 7), every value unlike."""
    return np.random.default_rng(0).permutation(16 * 20 * 7).reshape(16, 20, 7)


@pytest.fixture
def affine() -> np.ndarray:
    return SAGITTAL.copy()


@pytest.fixture
def write(volume: np.ndarray, affine: np.ndarray) -> Callable[..., list[Path]]:
    """Write the small volume as a sagittal T2 series into a folder; keywords override."""

    def writer(folder: Path, array: np.ndarray = volume, matrix: np.ndarray = affine, **words) -> list[Path]:
        words = {
            "patient_id": PATIENT_ID,
            "patient_name": PATIENT_NAME,
            "series_description": "T2 TSE SAG",
            "echo_time_ms": 100.0,
            "repetition_time_ms": 3500.0,
            "study_uid": "1.2.3.4",
            **words,
        }
        return write_series(array, matrix, folder, **words)

    return writer

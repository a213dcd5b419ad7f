"""What values say of a scan whose format does not say its modality."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.scans import guess_modality, is_ct, read_scan


@pytest.mark.parametrize(
    ("low", "high", "guess"),
    [
        (-1024, 3000, "CT"),
        (0, 800, "MR"),
        (-1000, 20000, "MR"),  # ringing of a resampling: a twentieth of the maximum
        (-80, 300, "unknown"),  # CT cut to a window
        (-3, 5, "unknown"),  # MR with mean 0
    ],
)
def test_air_is_ct_and_nothing_below_zero_is_mr(low: float, high: float, guess: str, tmp_path: Path) -> None:
    values = np.linspace(low, high, 1000, dtype=np.float32).reshape(10, 10, 10)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "scan.nii.gz")
    scan = read_scan(tmp_path / "scan.nii.gz")
    assert scan.modality == "unknown"
    assert guess_modality(scan) == guess
    assert is_ct(scan) is (guess == "CT")

"""What a served bundle answers to a path, to an array, and to what is neither."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from toy.samples import SAMPLES

from siamed.pipeline.sharing.served import ServedBundle, _volume_answer

IMAGE = np.random.default_rng(5).random((1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def served(trained: Path) -> ServedBundle:
    """An untrained bundle, without MLflow."""
    return ServedBundle(trained)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([{"scan": "a"}], r"must have a column 'path' or 'image', got \['scan'\]"),
        ([{"path": None}], "row 0 has neither"),
        ([{"path": "a.nii", "image": IMAGE}], "row 0 has both"),
        ([{"path": "gone.nii.gz"}], r"there is no 'gone\.nii\.gz'"),
        ([{"path": "scan.dcm"}], r"must name a NIfTI file \(.nii, .nii.gz\), got 'scan\.dcm'"),
        ([{"image": IMAGE[0]}], r"one input of the network \(1, 16, 16\).* got shape \(16, 16\)"),
        ([{"image": np.zeros((1, 16, 17))}], r"got shape \(1, 16, 17\)"),
        ([{"image": [[[1.0, 2.0], [1.0]]]}], "numbers in lists of equal length"),
        ([{"image": np.full((1, 16, 16), np.nan)}], "must be finite"),
    ],
)
def test_a_row_that_cannot_be_answered_says_why(served: ServedBundle, rows: list, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        served.predict(pd.DataFrame(rows))


def test_what_is_no_table_is_refused(served: ServedBundle) -> None:
    with pytest.raises(TypeError, match="must be a pandas DataFrame, got ndarray"):
        served.predict(IMAGE)


def test_a_volume_comes_as_a_nifti_file_on_the_scans_grid() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    labels = np.random.default_rng(0).integers(0, 3, (1, 4, 5, 6))
    answer = _volume_answer(MetaTensor(torch.from_numpy(labels).float(), affine=affine))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(answer["nifti"])))
    assert answer["shape"] == [4, 5, 6]
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj), labels[0])
    assert np.array_equal(image.affine, affine)
    shares = _volume_answer(MetaTensor(torch.full((2, 4, 5, 6), 0.25), affine=affine))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(shares["nifti"])))
    assert (image.shape, image.get_data_dtype()) == ((4, 5, 6, 2), np.float32)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"toy_bundle"}))
def test_a_shipped_bundle_answers_both_columns_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = SAMPLES[name](tmp_path / "data").inference["dataset_dir"]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    bundle = ServedBundle(name)
    for row in ({"image": bundle.input.example()}, {"path": str(next(Path(scans).rglob("*.nii.gz")))}):
        (answer,) = bundle.predict(pd.DataFrame([row]))
        assert json.loads(json.dumps(answer)) == answer
        assert {"output", "nifti"} & set(answer)
    assert list((tmp_path / "empty").iterdir()) == []

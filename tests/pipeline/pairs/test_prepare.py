"""Vertebral bodies of a data set, cut once: which ones, where they lie, what is written."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor

from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.detection import Column, Disc, Vertebra
from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.pairs.prepare import prepare_volumes
from siamed.pipeline.pairs.volumes import VolumeTable
from siamed.transforms.extract_volume import VIEW_MARGIN_PX

AFFINE = np.array([[-4.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
TOPS = (10, 60, 110, 160)


def column(levels: tuple[str | None, ...], partial: tuple[str, ...] = ()) -> Column:
    """Bodies of 34 by 40 mm, 10 mm apart."""
    bodies = []
    for level, top in zip(levels, TOPS, strict=True):
        rows, columns = np.array([top, top, top + 40, top + 40]), np.array([40.0, 74.0, 74.0, 40.0])
        corners = {0: np.stack([0.0 * rows, -columns, -rows.astype(float)], 1)}
        bodies.append(Vertebra(level, 0.9, 0.9, level in partial, corners, 0))
    return Column(tuple(bodies), (), ())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two scans of four bodies, each with a bright mark at its anterior superior corner."""
    image = np.full((1, 220, 120), 20.0, np.float32)
    for top, value in zip(TOPS, (100, 160, 140, 160), strict=True):
        image[0, top : top + 40, 40:74] = value
        image[0, top + 4 : top + 10, 44:50] = 2 * value
    for name in ("one", "two"):
        nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / f"{name}.nii.gz")
    rows = [ScanRow(n, f"subject-{n}", "T2", f"{n}.nii.gz", family_id="f", order="1") for n in ("one", "two")]
    return Manifest(tmp_path, tuple(rows), {})


def test_whole_named_bodies_are_written_with_their_place(manifest: Manifest, tmp_path: Path) -> None:
    found = {"levels": ("T11", "T12", "L1", "L2")}
    table = prepare_volumes(
        manifest, manifest.scans, tmp_path / "out", lambda image: column(found["levels"], ("L2",))
    )
    assert table["level"].tolist() == ["T12", "L1"] * 2  # T11 takes no part, L2 is cut by the edge
    assert table["subject_id"].tolist() == ["subject-one"] * 2 + ["subject-two"] * 2
    own = zip(table["family_id"], table["order"], table["sequence"], strict=True)
    assert set(own) == {("f", "1", "T2")}
    again = VolumeTable.read(tmp_path / "out" / "volumes.csv")
    assert again.sha256 == table.sha256
    assert [sha256_of(path) for path in again.paths()] == again["sha256"].tolist()
    volume = nib.load(again.paths()[1])
    assert volume.shape == (1, 224 + 2 * VIEW_MARGIN_PX[0], 224 + 2 * VIEW_MARGIN_PX[1])
    # The neighbors' median, 160, becomes 0.5: the body's own 140 becomes 0.4375, in steps of 1/255.
    data = volume.get_fdata()
    assert data[0, 136 + 20, 160 + 20] == pytest.approx(0.4375, abs=0.003)
    assert volume.get_data_dtype() == np.uint8
    # Its middle lies where the body's does: rows 110 to 149, columns 40 to 73 of the scan.
    center = volume.affine @ [0, 135.5, 159.5, 1]
    np.testing.assert_allclose(center[1:3], [-57, -130], atol=0.6)
    # Left is left, up is up: the mark is in the upper anterior quarter.
    quarter = [data[0, 60:135, 104:159], data[0, 136:211, 160:215]]
    assert quarter[0].max() > quarter[1].max() + 0.2


def test_a_scan_without_names_is_said_and_a_set_without_any_is_refused(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = iter([column(("L1", "L2", "L3", "L4")), column((None,) * 4)])

    def detector(image: MetaTensor) -> Column:
        return next(calls)

    table = prepare_volumes(manifest, manifest.scans, tmp_path / "out", detector)
    assert set(table["scan_id"].tolist()) == {"one"}
    assert "two: no body has a name" in caplog.text
    with pytest.raises(ValueError, match="none of 2 does"):
        prepare_volumes(manifest, manifest.scans, tmp_path / "none", lambda image: column((None,) * 4))
    with pytest.raises(ValueError, match="slices must be odd, got 2"):
        prepare_volumes(manifest, manifest.scans, tmp_path / "none", lambda image: column((None,) * 4), 2)


def test_discs_are_cut_by_the_names_of_their_neighbors(manifest: Manifest, tmp_path: Path) -> None:
    bodies = column(("T11", "T12", "L1", None)).vertebrae
    # T11-T12 takes no part, the disc below L1 has no name.
    discs = tuple(Disc(i, i + 1, None, np.zeros(3)) for i in range(3))
    found = Column(bodies, discs, ())
    table = prepare_volumes(manifest, manifest.scans, tmp_path / "out", lambda image: found, structure="disc")
    assert table["level"].tolist() == ["T12-L1"] * 2
    volume = nib.load(table.paths()[0])
    assert volume.shape == (1, 112 + 2 * VIEW_MARGIN_PX[0], 224 + 2 * VIEW_MARGIN_PX[1])
    # Its middle lies between the bodies: rows 100 to 110, columns 40 to 74 of the scan.
    center = volume.affine @ [0, 79.5, 159.5, 1]
    np.testing.assert_allclose(center[1:3], [-57, -105], atol=0.6)
    with pytest.raises(ValueError, match=r"structure must be one of \('body', 'disc'\), got 'cord'"):
        prepare_volumes(manifest, manifest.scans, tmp_path / "x", lambda image: found, structure="cord")

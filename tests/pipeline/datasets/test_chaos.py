"""CHAOS as shipped, on small DICOM series with PNG label maps: a label stays on its voxel and its side."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from siamed.pipeline.datasets.chaos import convert_chaos, main
from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.report.png import encode_png
from siamed.pipeline.scans.write_dicom import write_series

SHAPE = (
    12,
    10,
    6,
)  # columns to the left, rows to the back, slices downward: the topmost file has the first name
AFFINE = np.array([[-2.0, 0, 0, 11], [0, -1.5, 0, 20], [0, 0, -8, 40], [0, 0, 0, 1]])
GRAYS = np.array([0, 63, 126, 189, 252], np.uint8)  # of background, liver, kidneys right and left, spleen


def organs() -> np.ndarray:
    """Labels (columns, rows, slices): liver and right kidney on the right, which is where columns begin."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 1:6, 0:3] = 1
    labels[2:4, 7:9, 2:5] = 2
    labels[8:11, 7:9, 1:4] = 3
    labels[9:11, 2:4, 0:2] = 4
    return labels


def image_of(labels: np.ndarray) -> np.ndarray:
    """A scan that tells each voxel's label (thousands) and place."""
    return 1000 * labels.astype(np.int32) + np.random.default_rng(0).permutation(labels.size).reshape(SHAPE)


def write_pngs(folder: Path, labels: np.ndarray, names: list[str], grays: np.ndarray = GRAYS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        (folder / name).write_bytes(encode_png(np.ascontiguousarray(grays[labels[:, :, k]].T)))


def write_case(source: Path, number: int, ground: bool = True) -> Path:
    labels, case = organs(), source / str(number)
    files = write_series(
        image_of(labels), AFFINE, case / "T2SPIR" / "DICOM_anon", patient_id=f"SECRET{number}"
    )
    if ground:
        write_pngs(case / "T2SPIR" / "Ground", labels, [f"{path.stem}.png" for path in files])
    return case


def rows(out: Path) -> dict[str, list[str]]:
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: [row["status"], row["code"], row["reason"]] for row in csv.DictReader(file)}


def arrays(out: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, label = (nibabel.load(out / f"{name}_{kind}.nii.gz") for kind in ("image", "label"))
    np.testing.assert_array_equal(image.affine, label.affine)
    return np.asarray(image.dataobj), np.asarray(label.dataobj), image.affine


def test_a_label_stays_on_its_voxel_and_its_side(tmp_path: Path) -> None:
    write_case(tmp_path / "MR", 3)
    (outcome,) = convert_chaos(tmp_path / "MR", "T2SPIR", tmp_path / "out")
    image, label, affine = arrays(tmp_path / "out", "03")
    assert outcome.reading == tmp_path / "out" / "03_image.nii.gz"
    assert (image.dtype, label.dtype) == (np.int16, np.uint8)
    assert image.shape == label.shape == SHAPE
    np.testing.assert_array_equal(label, image // 1000)
    # The reader counts slices upward, the files were written downward.
    np.testing.assert_array_equal(image, image_of(organs())[:, :, ::-1])
    np.testing.assert_allclose(affine, [[-2, 0, 0, 11], [0, -1.5, 0, 20], [0, 0, 8, 0], [0, 0, 0, 1]])
    centers = {n: affine[:3, :3] @ np.argwhere(label == n).mean(0) + affine[:3, 3] for n in (1, 2, 3, 4)}
    np.testing.assert_allclose(centers[2], [6, 8.75, 16])  # by hand: column 2.5, row 7.5, files 2 to 4
    np.testing.assert_allclose(centers[3], [-7, 8.75, 24])
    assert centers[1][0] > 0 > centers[4][0]  # RAS: the liver is on the right, the spleen is not
    assert rows(tmp_path / "out") == {"03": ["done", "", ""]}
    assert [row.label for row in segmentation_manifest(tmp_path / "out").scans] == ["03_label.nii.gz"]


def test_a_picture_belongs_to_the_file_of_its_rank_by_name_not_by_place(tmp_path: Path) -> None:
    """Files named in no order of place: the n-th picture is drawn on the n-th file all the same."""
    case = write_case(tmp_path / "MR", 8, ground=False)
    series, labels = case / "T2SPIR" / "DICOM_anon", organs()
    order = [3, 0, 5, 1, 4, 2]  # slice of the first name, of the second, ...
    for rank, k in enumerate(order):
        (series / f"{k + 1:04d}.dcm").rename(series / f"IMG-{rank:05d}.dcm")
    names = [f"liver_GT_{rank:03d}.png" for rank in range(6)]
    write_pngs(case / "T2SPIR" / "Ground", labels[:, :, order], names)
    (case / "T2SPIR" / "Ground" / "._liver_GT_000.png").write_bytes(b"a Mac was here")
    convert_chaos(tmp_path / "MR", "T2SPIR", tmp_path / "out")
    image, label, _ = arrays(tmp_path / "out", "08")
    np.testing.assert_array_equal(label, image // 1000)


@pytest.mark.parametrize("phase", ["InPhase", "OutPhase"])
def test_both_phases_share_their_label_maps(tmp_path: Path, phase: str) -> None:
    case, labels = tmp_path / "MR" / "21" / "T1DUAL", organs()
    for number, name in enumerate(("InPhase", "OutPhase")):
        series = case / "DICOM_anon" / name
        files = write_series(
            image_of(labels) + 100 * number, AFFINE, series, patient_id="x", series_uid="1.2.3"
        )
        for k, path in enumerate(files):  # in turns, as the scanner counted them
            path.rename(path.with_name(f"IMG-0004-{2 * k + 2 - number:05d}.dcm"))
    write_pngs(case / "Ground", labels, [f"IMG-0004-{2 * k + 2:05d}.png" for k in range(6)])
    convert_chaos(tmp_path / "MR", f"T1DUAL-{phase}", tmp_path / "out")
    image, label, _ = arrays(tmp_path / "out", "21")
    np.testing.assert_array_equal(image, image_of(organs())[:, :, ::-1] + 100 * (phase == "OutPhase"))
    np.testing.assert_array_equal(label, organs()[:, :, ::-1])


@pytest.mark.parametrize("bits", [1, 8])
def test_ct_has_the_liver_alone_in_one_bit_or_eight(tmp_path: Path, bits: int) -> None:
    from PIL import Image

    liver = (organs() == 1).astype(np.uint8)
    series = tmp_path / "CT" / "14" / "DICOM_anon"
    write_series(
        image_of(liver) - 1024, AFFINE, series, patient_id="x", modality="CT", rescale_intercept=-1024
    )
    ground = tmp_path / "CT" / "14" / "Ground"
    names = [f"liver_GT_{k:03d}.png" for k in range(6)]
    write_pngs(ground, liver, names, np.array([0, 255], np.uint8))
    if bits == 1:
        for k, name in enumerate(names):
            Image.fromarray(liver[:, :, k].T.astype(bool)).save(ground / name)
    convert_chaos(tmp_path / "CT", "CT", tmp_path / "out")
    image, label, _ = arrays(tmp_path / "out", "14")
    assert image.min() == -1024
    np.testing.assert_array_equal(label, (image + 1024) // 1000)


def test_grays_within_an_organs_range_are_the_organ(tmp_path: Path) -> None:
    case = write_case(tmp_path / "MR", 1)
    names = [f"{k + 1:04d}.png" for k in range(6)]
    for grays in ([0, 55, 110, 175, 240], [0, 70, 135, 200, 255]):
        write_pngs(case / "T2SPIR" / "Ground", organs(), names, np.array(grays, np.uint8))
        convert_chaos(tmp_path / "MR", "T2SPIR", tmp_path / "out")
        np.testing.assert_array_equal(arrays(tmp_path / "out", "01")[1], organs()[:, :, ::-1])


def test_without_label_maps_there_is_an_image_alone(tmp_path: Path) -> None:
    write_case(tmp_path / "MR", 4)
    convert_chaos(tmp_path / "MR", "T2SPIR", tmp_path / "out")
    for path in (tmp_path / "MR" / "4" / "T2SPIR" / "Ground").glob("*"):
        path.unlink()
    (tmp_path / "MR" / "4" / "T2SPIR" / "Ground").rmdir()
    convert_chaos(tmp_path / "MR", "T2SPIR", tmp_path / "out")  # the label map of before does not stay
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["04_image.nii.gz", "cases.csv"]


def test_a_bad_case_is_a_row_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="siamed")
    source, out = tmp_path / "MR", tmp_path / "out"
    grounds = {
        number: write_case(source, number) / "T2SPIR" / "Ground" for number in (1, 2, 3, 5, 8, 10, 13, 15)
    }
    assert main(["--source", str(source), "--sequence", "T2SPIR", "--out", str(out)]) == 0
    (grounds[2] / "0003.png").unlink()
    (grounds[3] / "0003.png").write_bytes(encode_png(np.zeros((12, 10), np.uint8)))
    (grounds[5] / "0003.png").write_bytes(encode_png(np.full((10, 12), 90, np.uint8)))
    (grounds[8] / "0003.png").write_bytes(b"nothing")
    (source / "10" / "T2SPIR" / "DICOM_anon" / "0003.dcm").unlink()
    (source / "13" / "T2SPIR").rename(source / "13" / "moved")
    from PIL import Image

    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(grounds[15] / "0003.png")
    caplog.clear()
    assert main(["--source", str(source), "--sequence", "T2SPIR", "--out", str(out)]) == 1
    found = rows(out)
    assert {name: row[1] for name, row in found.items()} == {
        "01": "",
        "02": "label-slices",
        "03": "label-size",
        "05": "label-values",
        "08": "unreadable-file",
        "10": "missing-slices",
        "13": "path-not-found",
        "15": "label-values",
    }
    assert found["02"][2] == "5 PNG label maps for a series of 6 slices in 6 files"
    assert found["03"][2] == "a label map of 10 x 12 pixels for a slice of 12 x 10"
    assert "gray values [90]" in found["05"][2]
    assert "8-bit gray picture, it has shape (10, 12, 3)" in found["15"][2]
    assert "05: a label map holds" in caplog.text
    assert "1 cases converted, 7 failed" in caplog.text
    # Nothing stays of an earlier run of a case that now fails, and nothing is half there.
    assert sorted(path.name for path in out.iterdir()) == ["01_image.nii.gz", "01_label.nii.gz", "cases.csv"]


def test_wrong_arguments_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "MR", 1)
    with pytest.raises(ValueError, match="sequence must be one of .*'T2SPIR'.*, got 'T2'"):
        convert_chaos(tmp_path / "MR", "T2", tmp_path / "out")
    with pytest.raises(
        ValueError, match="source must hold <id>/DICOM_anon for CT, 'MR' holds none: give the"
    ):
        convert_chaos(tmp_path / "MR", "CT", tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["--source", str(tmp_path), "--sequence", "CT", "--out", str(tmp_path / "out")])
    assert "source must hold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""SPIDER as published, on small files written in its layout, and as the working copy: one manifest."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamed.pipeline.datasets.manifest import Manifest, ScanRow
from siamed.pipeline.datasets.spider import GRADING_COLUMNS, merge_labels, read_gradings, spider_manifest

HEADER = ["Patient", "IVD label", *GRADING_COLUMNS.values()]
GRADES = [[1, 1, 4, 1, 0, 1, 2, 0, 1, 1], [1, 2, 2, 0, 0, 0, 0, 0, 0, 0], [12, 1, 5, 1, 1, 1, 3, 1, 0, 1]]


def save_mha(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Voxels (I, J, K) with their affine to RAS mm, as MetaImage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of itk's bindings, about themselves
        import itk

        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing([float(v) for v in spacing])
        image.SetOrigin([float(v) for v in lps[:3, 3]])
        image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
        path.parent.mkdir(parents=True, exist_ok=True)
        itk.imwrite(image, str(path), compression=True)


def write_gradings(folder: Path, rows: list[list] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "radiological_gradings.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        table.writerows(rows or GRADES)


def instance_label(bodies: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The release's labels ``(D, H, W)`` in LIP: bodies 1, 2, ... from the lowest up, the topmost cut by
    the edge (101 and up), discs 201 and up, canal 100; and what they are merged to."""
    label = np.zeros((5, 40 * bodies, 100), np.int16)
    merged = np.zeros(label.shape, np.uint8)
    label[1:-1, :, 78:88], merged[1:-1, :, 78:88] = 100, 3
    for k in range(bodies):  # from the top down
        number = bodies - k
        top = 0 if k == 0 else 40 * k
        label[1:-1, top : top + 28, 40:74] = number if k else 100 + number
        merged[1:-1, top : top + 28, 40:74] = 1
        label[1:-1, top + 29 : top + 39, 40:74] = 200 + number
        merged[1:-1, top + 29 : top + 39, 40:74] = 2
    return label, merged


AFFINE = np.array([[-4.0, 0, 0, 9], [0, 0, -1.0, -5], [0, -1.0, 0, 60], [0, 0, 0, 1.0]])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Two patients as published: one with three sequences and masks, one without a mask."""
    label, merged = instance_label()
    image = (merged * 60 + 20).astype(np.int16)
    for name in ("1_t1", "1_t2", "1_t2_SPACE"):
        save_mha(image, AFFINE, tmp_path / "images" / f"{name}.mha")
        save_mha(label, AFFINE, tmp_path / "masks" / f"{name}.mha")
    save_mha(image, AFFINE, tmp_path / "images" / "12_t2.mha")
    write_gradings(tmp_path)
    return tmp_path


def test_the_release_gives_a_row_a_scan_in_the_order_of_patients(release: Path) -> None:
    manifest = spider_manifest(release)
    rows = [(row.case_id, row.subject_id, row.sequence, row.label) for row in manifest.scans]
    assert rows == [
        ("1_t1", "1", "T1", "masks/1_t1.mha"),
        ("1_t2", "1", "T2", "masks/1_t2.mha"),
        ("1_t2_SPACE", "1", "T2_SPACE", "masks/1_t2_SPACE.mha"),
        ("12_t2", "12", "T2", ""),
    ]
    assert manifest.gradings[("1", 1)]["pfirrmann"] == 4
    assert manifest.gradings[("12", 1)]["modic"] == 3


def test_the_detectors_training_reads_the_release(release: Path) -> None:
    from siamed.pipeline.detection.training_data import canonical_image, labelled_volumes, slice_items

    volumes = labelled_volumes(release, [], ["1"])
    assert [row.case_id for row in volumes] == ["1_t1", "1_t2", "1_t2_SPACE"]
    label, merged = instance_label()
    found, affine = canonical_image(volumes[0].label)
    np.testing.assert_array_equal(merge_labels(found), merged)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-6)
    items = slice_items(volumes[:1])
    assert [item["slice"] for item in items] == [1, 2, 3]
    assert all(len(item["corners"]) >= 3 for item in items)
    assert items[0]["spacing_mm"] == pytest.approx((1.0, 1.0))


def test_the_release_and_the_working_copy_end_in_the_same_gradings(release: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    image, _ = instance_label()
    (copy / "space_half").mkdir(parents=True)
    (copy / "midslice").mkdir()
    for name in ("image", "label"):
        nib.save(nib.Nifti1Image(image, AFFINE), copy / "space_half" / f"001_T2_SPACE_{name}.nii.gz")
    with (copy / "scans.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scan_id", "patient_id", "sequence", "file", "num_discs"])
        table.writerow(["001_T2", "1", "T2", "midslice/001_T2.nii.gz", "7.0"])
        table.writerow(["012_T1", "12", "T1", "midslice/012_T1.nii.gz", ""])
    write_gradings(copy)
    manifest = spider_manifest(copy)
    assert manifest.gradings == spider_manifest(release).gradings
    assert [(r.case_id, r.subject_id, r.sequence, r.discs) for r in manifest.scans] == [
        ("space_half/001", "1", "T2_SPACE", ""),
        ("midslice/001_T2", "1", "T2", "7"),
        ("midslice/012_T1", "12", "T1", ""),
    ]
    assert manifest.scans[0].label == "space_half/001_T2_SPACE_label.nii.gz"


def test_labels_are_merged_tissue_by_tissue() -> None:
    label = np.array([0, 1, 9, 100, 101, 118, 201, 219])
    assert merge_labels(label).tolist() == [0, 1, 1, 3, 1, 1, 2, 2]
    assert merge_labels(np.array([0, 1, 2, 3])).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"got \[200, 300\]"):
        merge_labels(np.array([1, 100, 200, 300]))


def test_an_empty_cell_is_a_missing_label(tmp_path: Path) -> None:
    write_gradings(tmp_path, [[3, 2, "", 1, 0, 1, 2, 0, 1, 1]])
    grades = read_gradings(tmp_path / "radiological_gradings.csv")[("3", 2)]
    assert "pfirrmann" not in grades
    assert grades["modic"] == 2
    assert len(grades) == 7


def test_wrong_folders_and_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold radiological_gradings.csv"):
        spider_manifest(tmp_path)
    write_gradings(tmp_path)
    with pytest.raises(ValueError, match="images/ .the release. or midslice/"):
        spider_manifest(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="must hold scans, none was found"):
        spider_manifest(tmp_path)
    (tmp_path / "images" / "1_flair.mha").touch()
    with pytest.raises(ValueError, match="got '1_flair.mha'"):
        spider_manifest(tmp_path)
    (tmp_path / "radiological_gradings.csv").write_text("Patient,IVD label\n1,1\n")
    with pytest.raises(ValueError, match="lacks .*Pfirrman grade"):
        read_gradings(tmp_path / "radiological_gradings.csv")


def test_a_manifest_is_read_as_it_was_written(release: Path, tmp_path: Path) -> None:
    manifest = spider_manifest(release)
    manifest.write(tmp_path / "tables")
    again = Manifest.read(tmp_path / "tables", release)
    assert again == manifest
    assert again.sha256 == manifest.sha256


def test_the_hash_follows_the_grades_and_not_the_folder(tmp_path: Path) -> None:
    row = ScanRow("a", "1", "T2", "images/a.mha")
    first = Manifest(tmp_path, (row,), {("1", 1): {"pfirrmann": 3}})
    assert first.sha256 == Manifest(tmp_path / "other", (row,), {("1", 1): {"pfirrmann": 3}}).sha256
    assert first.sha256 != Manifest(tmp_path, (row,), {("1", 1): {"pfirrmann": 4}}).sha256


def test_a_case_occurs_once() -> None:
    row = ScanRow("a", "1", "T2", "images/a.mha")
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        Manifest(Path("."), (row, row), {})


@pytest.mark.data
def test_the_working_copy_holds_what_its_readme_says(data_folder: Path) -> None:
    manifest = spider_manifest(data_folder / "spine_spider")
    assert len({row.subject_id for row in manifest.scans}) == 179
    assert sum(row.case_id.startswith("midslice/") for row in manifest.scans) == 360
    assert sum(row.case_id.startswith("space_half/") for row in manifest.scans) == 30
    assert len(manifest.gradings) == 1240
    assert {grades["pfirrmann"] for grades in manifest.gradings.values()} == {1, 2, 3, 4, 5}

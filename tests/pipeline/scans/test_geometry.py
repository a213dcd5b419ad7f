"""Left is left: one bright voxel at a known place ends at that place, whatever the format and its order.

The volume is built once in RAS+; nibabel (an independent library) turns it into any other index order.
"""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from siamed.pipeline.scans import CaseError, plane_of, read_scan, sagittal_view
from siamed.pipeline.scans.write_dicom import write_series

# RAS+: 7 sagittal slices 4 mm apart, 12 voxels of 0.7 mm front to back, 15 of 0.5 mm bottom to top.
SHAPE, SPACING, ORIGIN = (7, 12, 15), (4.0, 0.7, 0.5), (-9.0, -50.0, 20.0)
# Off the middle along every axis: world = origin + index * spacing = (11, -48.6, 25.5) mm.
BRIGHT = (5, 2, 11)
WORLD = (11.0, -48.6, 25.5)
# ITK's own modules warn while they load, and crash where warnings are errors.
ITK_WARNS = pytest.mark.filterwarnings("ignore")
ORIENTATIONS = ["RAS", "LAS", "LPS", "PIR", "PIL", "AIL", "IPR", "SAL"]


def _oriented(axcodes: str) -> tuple[np.ndarray, np.ndarray]:
    array = np.random.default_rng(1).integers(0, 100, SHAPE).astype(np.int16)
    array[BRIGHT] = 1000
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(axcodes)
    )
    turned = nibabel.orientations.apply_orientation(array, turn)
    return turned, affine @ nibabel.orientations.inv_ornt_aff(turn, array.shape)


def _world_of_brightest(image) -> np.ndarray:
    index = np.unravel_index(int(image.argmax()), image.shape)[1:]
    return (np.asarray(image.affine) @ [*index, 1.0])[:3]


def _assert_bright_voxel_is_in_place(scan) -> None:
    np.testing.assert_allclose(_world_of_brightest(scan.image), WORLD, atol=1e-4)
    view = sagittal_view(scan)
    # By hand: slices count from the right (x high) to the left, rows from the top, columns from the front.
    expected = (SHAPE[0] - 1 - BRIGHT[0], SHAPE[2] - 1 - BRIGHT[2], SHAPE[1] - 1 - BRIGHT[1])
    assert view.shape == (1, SHAPE[0], SHAPE[2], SHAPE[1])
    assert np.unravel_index(int(view.argmax()), view.shape)[1:] == expected
    assert "".join(nibabel.aff2axcodes(np.asarray(view.affine))) == "LIP"
    np.testing.assert_allclose(_world_of_brightest(view), WORLD, atol=1e-4)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_nifti_of_any_orientation_keeps_order_and_place(tmp_path, axcodes):
    array, affine = _oriented(axcodes)
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "7_t2.nii.gz")
    scan = read_scan(tmp_path / "7_t2.nii.gz")
    np.testing.assert_array_equal(scan.image[0].numpy(), array)
    assert scan.orientation == axcodes and scan.sequence == "T2"
    _assert_bright_voxel_is_in_place(scan)


@ITK_WARNS
@pytest.mark.parametrize("ending", ["mha", "nrrd"])
@pytest.mark.parametrize("axcodes", ["RAS", "PIR", "AIL"])
def test_itk_formats_keep_order_and_place(tmp_path, axcodes, ending):
    array, affine = _oriented(axcodes)
    _save_itk(array, affine, tmp_path / f"7_t2.{ending}")
    scan = read_scan(tmp_path / f"7_t2.{ending}")
    np.testing.assert_array_equal(scan.image[0].numpy(), array)
    assert scan.orientation == axcodes
    _assert_bright_voxel_is_in_place(scan)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("axcodes", ["PIR", "PIL", "AIR", "IPL"])
def test_dicom_keeps_place_in_both_slice_orders(tmp_path, axcodes, enhanced):
    array, affine = _oriented(axcodes)
    write_series(array, affine, tmp_path / "s", patient_id="7", series_description="T2", enhanced=enhanced)
    _assert_bright_voxel_is_in_place(read_scan(tmp_path / "s"))


def test_dicom_order_ignores_instance_numbers_and_file_names(tmp_path):
    array, affine = _oriented("PIR")
    shuffled = [4, 1, 7, 3, 2, 6, 5]
    paths = write_series(array, affine, tmp_path / "s", patient_id="7", instance_numbers=shuffled)
    for path, number in zip(paths, shuffled, strict=True):
        path.rename(path.with_name(f"IM{number}"))
    scan = read_scan(tmp_path / "s")
    np.testing.assert_array_equal(scan.image[0].numpy(), array)
    _assert_bright_voxel_is_in_place(scan)


def test_dicom_index_axes_are_column_row_slice(write, tmp_path, volume, affine):
    """PIR is what the normal gives (columns back, rows down, their cross product to the right)."""
    write(tmp_path / "s")
    scan = read_scan(tmp_path / "s")
    np.testing.assert_array_equal(scan.image[0].numpy(), volume[:, :, ::-1])
    np.testing.assert_allclose(scan.image.affine[:3, 3], (affine @ [0, 0, 6, 1])[:3])
    assert scan.orientation == "PIR"
    np.testing.assert_allclose(scan.spacing_mm, (0.5, 0.6, 4.0), atol=1e-9)


@ITK_WARNS
def test_dicom_agrees_with_itk_on_an_oblique_series(write, tmp_path, affine):
    import itk

    tilt = np.eye(4)
    tilt[:3, :3] = _rotation(12.0, 2) @ _rotation(-7.0, 0)
    matrix = tilt @ affine
    matrix[:, 2] *= -1  # slices ascend along the normal, as ITK sorts them
    paths = write(tmp_path / "s", matrix=matrix)
    other = itk.imread([str(p) for p in paths])
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(other.GetDirection()) * np.array(other.GetSpacing())
    lps[:3, 3] = np.array(other.GetOrigin())
    scan = read_scan(tmp_path / "s")
    np.testing.assert_allclose(np.asarray(scan.image.affine), np.diag([-1, -1, 1, 1]) @ lps, atol=1e-6)
    np.testing.assert_array_equal(scan.image[0].numpy(), np.asarray(other).transpose(2, 1, 0))


def test_spacing_between_slices_comes_from_positions_not_thickness(write, tmp_path):
    write(tmp_path / "s", slice_thickness_mm=3.0)
    assert read_scan(tmp_path / "s").spacing_mm[2] == pytest.approx(4.0)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_any_number_of_slices_is_a_scan(write, tmp_path, affine, count):
    array = np.random.default_rng(0).integers(0, 500, (16, 20, count))
    write(tmp_path / "s", array=array, matrix=affine, slice_thickness_mm=3.5)
    scan = read_scan(tmp_path / "s")
    assert sagittal_view(scan).shape == (1, count, 20, 16)
    assert scan.spacing_mm[2] == pytest.approx(3.5 if count == 1 else 4.0)
    assert any("one slice" in note for note in scan.notes) == (count == 1)


def _turned(matrix: np.ndarray, degrees: float, axis: int) -> np.ndarray:
    turn = np.eye(4)
    turn[:3, :3] = _rotation(degrees, axis)
    return turn @ matrix


def _rotation(degrees: float, axis: int) -> np.ndarray:
    a, (p, q) = np.deg2rad(degrees), [n for n in range(3) if n != axis]
    matrix = np.eye(3)
    matrix[p, p] = matrix[q, q] = np.cos(a)
    matrix[p, q], matrix[q, p] = -np.sin(a), np.sin(a)
    return matrix


@pytest.mark.parametrize(
    ("degrees", "axis", "name", "angle"),
    [
        (0, 2, "sagittal", 0),
        (30, 2, "sagittal", 30),
        (90, 2, "coronal", 0),
        (90, 1, "axial", 0),
        (60, 1, "axial", 30),
    ],
)
def test_plane_is_named_by_the_slice_normal(affine, degrees, axis, name, angle):
    plane = plane_of((16, 20, 7), _turned(affine, degrees, axis))
    assert (plane.name, plane.slice_axis) == (name, 2)
    assert plane.angle_deg == pytest.approx(angle, abs=1e-6)


def test_plane_of_a_normal_between_all_axes_is_oblique(affine):
    """A normal along (1, 1, 1) lies arccos(1 / sqrt 3) = 54.7 degrees from every axis."""
    normal = np.ones(3) / np.sqrt(3)
    row = np.array([1, -1, 0]) / np.sqrt(2)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([row, np.cross(normal, row), 4 * normal], axis=1)
    plane = plane_of((16, 20, 7), matrix)
    assert plane.name == "oblique" and plane.angle_deg == pytest.approx(54.7356, abs=1e-3)


def test_nearly_isotropic_volume_of_any_orientation_is_viewed(tmp_path):
    array = np.random.default_rng(0).integers(0, 500, (20, 24, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([0.9, 0.9, 1.3, 1])), tmp_path / "axial_3d.nii")
    scan = read_scan(tmp_path / "axial_3d.nii")
    assert plane_of(array.shape, np.asarray(scan.image.affine)).name == "volume"
    assert sagittal_view(scan).shape == (1, 20, 16, 24)


def test_slice_axis_of_a_nifti_is_found_wherever_it_is(tmp_path):
    array, affine = _oriented("RAS")
    assert plane_of(array.shape, affine) == plane_of(SHAPE, np.diag([*SPACING, 1.0]))
    assert plane_of(array.shape, affine).slice_axis == 0


def test_view_never_changes_a_value(write, tmp_path, volume):
    write(tmp_path / "s")
    view = sagittal_view(read_scan(tmp_path / "s"))
    np.testing.assert_array_equal(np.sort(view.numpy().ravel()), np.sort(volume.ravel()))


def test_in_plane_rotation_is_kept_in_the_affine_up_to_45_degrees(write, tmp_path, affine):
    write(tmp_path / "a", matrix=_turned(affine, 40, 0))
    scan = read_scan(tmp_path / "a")
    view = sagittal_view(scan)
    np.testing.assert_allclose(_world_of_brightest(view), _world_of_brightest(scan.image), atol=1e-4)


def test_slices_stacked_off_their_normal_give_a_sheared_affine_and_a_note(write, tmp_path):
    import pydicom

    paths = write(tmp_path / "s")
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + 1.0 * k]
        ds.save_as(path)
    scan = read_scan(tmp_path / "s")
    # Seven slices, read from the last written one on: 4 mm to the right and 1 mm down from each to the next.
    np.testing.assert_allclose(np.asarray(scan.image.affine)[:3, 2], [4.0, 0.0, -1.0], atol=1e-6)
    assert any("14.0 degrees off their normal" in note for note in scan.notes)


def test_lengths_in_other_units_are_converted_with_a_note(tmp_path):
    array, affine = _oriented("RAS")
    affine = affine.copy()
    affine[:3] /= 1000.0
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "t2.nii")
    scan = read_scan(tmp_path / "t2.nii")
    assert any("meter" in note for note in scan.notes)
    np.testing.assert_allclose(_world_of_brightest(scan.image), WORLD, atol=1e-3)


def test_an_axial_scan_is_read_but_not_viewed(write, tmp_path, affine):
    write(tmp_path / "s", matrix=_turned(affine, 90, 1))
    scan = read_scan(tmp_path / "s")
    with pytest.raises(CaseError, match="slices are axial") as caught:
        sagittal_view(scan)
    assert caught.value.code == "axial-series"


def _save_itk(array: np.ndarray, affine: np.ndarray, path) -> None:
    import itk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(v) for v in spacing])
    image.SetOrigin([float(v) for v in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    itk.imwrite(image, str(path))


def _save_nrrd(path, space: str, array: np.ndarray, directions: np.ndarray, origin: np.ndarray) -> None:
    vectors = " ".join("(" + ",".join(f"{v:g}" for v in column) + ")" for column in directions.T)
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\n{space}\nsizes: {' '.join(map(str, array.shape))}\n"
        f"space directions: {vectors}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        f"space origin: ({','.join(f'{v:g}' for v in origin)})\n\n"
    )
    path.write_bytes(header.encode() + array.astype("<i2").tobytes(order="F"))


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1, 1)), ("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1))],
)
def test_nrrd_of_each_named_space_ends_in_place(tmp_path, space, signs):
    array, affine = _oriented("PIR")
    turn = np.diag(np.array(signs, dtype=float))
    _save_nrrd(tmp_path / "t2.nrrd", f"space: {space}", array, turn @ affine[:3, :3], turn @ affine[:3, 3])
    scan = read_scan(tmp_path / "t2.nrrd")
    np.testing.assert_array_equal(scan.image[0].numpy(), array)
    _assert_bright_voxel_is_in_place(scan)


@pytest.mark.parametrize("space", ["space: scanner-xyz", "space dimension: 3"])
def test_nrrd_of_no_patient_space_is_refused(tmp_path, space):
    array, affine = _oriented("PIR")
    _save_nrrd(tmp_path / "t2.nrrd", space, array, affine[:3, :3], affine[:3, 3])
    with pytest.raises(CaseError, match="no space of a patient") as caught:
        read_scan(tmp_path / "t2.nrrd")
    assert caught.value.code == "no-affine"

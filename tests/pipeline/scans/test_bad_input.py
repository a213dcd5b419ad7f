"""Every kind of bad input ends in a CaseError of its own, with values, a way out, and no patient's name.

Each case is a real file (or folder), written here and then broken in one way.
"""

from __future__ import annotations

import gzip
import logging
import shutil
import traceback
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from siamed.pipeline.scans import CaseError, read_scan, sagittal_view

ARRAY = np.random.default_rng(3).integers(0, 900, (7, 16, 20)).astype(np.int16)
AFFINE = np.diag([4.0, 0.6, 0.5, 1.0])


def _edit(paths: list[Path], change) -> None:
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        change(k, ds)
        ds.save_as(path)


def _delete(keyword: str):
    return lambda k, ds: delattr(ds, keyword)


def _nifti(folder: Path, array=ARRAY, affine=AFFINE, name="t2.nii.gz", codes=(1, 1)) -> Path:
    folder.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine if codes[1] else None, codes[1])
    nibabel.save(image, folder / name)
    return folder / name


# --- DICOM, broken in one way each; the functions get (folder, write) and return what to read ---------------


def missing_position(folder, write):
    _edit(write(folder)[3:4], _delete("ImagePositionPatient"))


def missing_orientation(folder, write):
    _edit(write(folder), _delete("ImageOrientationPatient"))


def missing_pixel_spacing(folder, write):
    _edit(write(folder), _delete("PixelSpacing"))


def zero_pixel_spacing(folder, write):
    _edit(write(folder), lambda k, ds: setattr(ds, "PixelSpacing", [0, 0.5]))


def crooked_orientation(folder, write):
    _edit(write(folder), lambda k, ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0.5, -1]))


def missing_slice(folder, write):
    write(folder)[3].unlink()


def duplicate_slice(folder, write):
    def other_instance(k, ds):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"

    paths = write(folder)
    shutil.copy(paths[3], folder / "copy.dcm")
    _edit([folder / "copy.dcm"], other_instance)


def uneven_gaps(folder, write):
    def shift(k, ds):
        ds.ImagePositionPatient = [float(ds.ImagePositionPatient[0]) + 1.3, *ds.ImagePositionPatient[1:]]

    _edit(write(folder)[3:4], shift)


def mixed_orientations(folder, write):
    _edit(write(folder)[:3], lambda k, ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]))


def mixed_sizes(folder, write):
    write(folder, series_uid="1.2.3.5")
    write(folder / "more", array=np.arange(16 * 24).reshape(16, 24, 1), series_uid="1.2.3.5")


def mixed_spacing(folder, write):
    _edit(write(folder)[:3], lambda k, ds: setattr(ds, "PixelSpacing", [0.6, 0.55]))


def two_echoes(folder, write):
    write(folder, series_uid="1.2.3.5", echo_time_ms=20.0)
    write(folder / "more", series_uid="1.2.3.5", echo_time_ms=80.0)


def three_planes(folder, write):
    write(folder, series_uid="1.2.3.5", series_description="Localizer")
    axial = np.array([[0.5, 0, 0, 0], [0, -0.6, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    write(folder / "more", matrix=axial, series_uid="1.2.3.5", series_description="Localizer")


def screenshot(folder, write):
    def color(k, ds):
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.PixelData = ds.PixelData * 3

    _edit(write(folder), color)


def constant_pixels(folder, write):
    write(folder, array=np.full((16, 20, 7), 12))


def cut_in_the_pixels(folder, write):
    path = write(folder)[2]
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_the_header(folder, write):
    path = write(folder)[2]
    path.write_bytes(path.read_bytes()[:700])


def without_pixels(folder, write):
    _edit(write(folder), _delete("PixelData"))


def empty_file_among_slices(folder, write):
    write(folder)[2].write_bytes(b"")


def garbage_with_a_dicom_name(folder, write):
    folder.mkdir()
    (folder / "0001.dcm").write_bytes(b"not an image" * 100)


def unknown_compression(folder, write):
    def movie(k, ds):
        ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML

    for path in write(folder):
        ds = pydicom.dcmread(path)
        movie(0, ds)
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path)


def damaged_compression(folder, write):
    for path in write(folder):
        ds = pydicom.dcmread(path)
        ds.compress(pydicom.uid.RLELossless)
        ds.PixelData = pydicom.encaps.encapsulate([b"\x01\x02" * 40])
        ds.save_as(path)


def far_apart_slices(folder, write):
    write(folder, matrix=np.array([[0, 0, 80, 0], [-0.5, 0, 0, 0], [0, -0.6, 0, 0], [0, 0, 0, 1.0]]))


def two_studies(folder, write):
    write(folder / "a", study_uid="1.2.3.4")
    write(folder / "b", study_uid="1.2.3.5")


def dicom_beside_nifti(folder, write):
    write(folder)
    _nifti(folder)


# --- other formats and folders --------------------------------------------------------------------------


def empty_folder(folder, write):
    folder.mkdir()


def folder_of_texts(folder, write):
    folder.mkdir()
    (folder / "README.txt").write_text("no scan here")


def text_file(folder, write):
    folder_of_texts(folder, write)
    return folder / "README.txt"


def no_such_path(folder, write):
    return folder / "absent"


def two_niftis(folder, write):
    _nifti(folder, name="t1.nii")
    _nifti(folder, name="t2.nii")


def nifti_without_affine(folder, write):
    return _nifti(folder, codes=(0, 0))


def nifti_with_singular_affine(folder, write):
    path = _nifti(folder)
    image = nibabel.load(path)
    image.header["srow_x"] = [0, 0, 0, 0]
    nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(folder / "t2_b.nii")
    return folder / "t2_b.nii"


def nifti_with_two_affines(folder, write):
    path = _nifti(folder)
    image = nibabel.load(path)
    image.set_sform(np.diag([-4.0, 0.6, 0.5, 1.0]), 1)
    nibabel.save(image, folder / "t2_b.nii")
    return folder / "t2_b.nii"


def nifti_of_two_volumes(folder, write):
    return _nifti(folder, array=np.stack([ARRAY, ARRAY], axis=-1))


def nifti_with_nan(folder, write):
    array = ARRAY.astype(np.float32)
    array[3, 4, 5] = np.nan
    return _nifti(folder, array=array)


def nifti_with_infinity(folder, write):
    array = ARRAY.astype(np.float32)
    array[3, 4, 5:7] = np.inf
    return _nifti(folder, array=array)


def nifti_constant(folder, write):
    return _nifti(folder, array=np.zeros_like(ARRAY))


def nifti_in_meters_undeclared(folder, write):
    return _nifti(folder, affine=np.diag([0.004, 0.0006, 0.0005, 1.0]))


def nifti_in_color(folder, write):
    colors = np.zeros(ARRAY.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return _nifti(folder, array=colors)


def nifti_cut(folder, write):
    path = _nifti(folder, name="t2.nii")
    path.write_bytes(path.read_bytes()[:-500])
    return path


def nifti_gzip_cut(folder, write):
    path = _nifti(folder)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def nifti_garbage(folder, write):
    folder.mkdir()
    (folder / "t2.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    return folder / "t2.nii.gz"


def one_line_of_voxels(folder, write):
    return _nifti(folder, array=ARRAY[:1, :1])


def _mha(
    folder: Path, drop: str = "", kind: str = "MET_SHORT", channels: str = "", data: bytes | None = None
) -> Path:
    folder.mkdir()
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 0 0 0",
        "ElementSpacing = 4 0.6 0.5",
        "DimSize = 7 16 20",
        *([channels] if channels else []),
        f"ElementType = {kind}",
        "ElementDataFile = LOCAL",
    ]
    header = "\n".join(line for line in lines if not drop or not line.startswith(drop)) + "\n"
    (folder / "7_t2.mha").write_bytes(header.encode() + (ARRAY.tobytes() if data is None else data))
    return folder / "7_t2.mha"


def mha_without_position(folder, write):
    return _mha(folder, drop="Offset")


def mha_without_directions(folder, write):
    return _mha(folder, drop="TransformMatrix")


def mha_in_color(folder, write):
    return _mha(folder, kind="MET_UCHAR", channels="ElementNumberOfChannels = 3", data=bytes(ARRAY.size * 3))


def mha_of_two_volumes(folder, write):
    path = _mha(folder, data=ARRAY.tobytes() * 2)
    text = path.read_bytes().decode("latin-1")
    for old, new in (
        ("NDims = 3", "NDims = 4"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"),
        ("Offset = 0 0 0", "Offset = 0 0 0 0"),
        ("4 0.6 0.5", "4 0.6 0.5 1"),
        ("7 16 20", "7 16 20 2"),
    ):
        text = text.replace(old, new, 1)
    path.write_bytes(text.encode("latin-1"))
    return path


def too_many_frames(folder, write):
    _edit(write(folder, enhanced=True), lambda k, ds: setattr(ds, "NumberOfFrames", 999999999))


def more_frames_than_positions(folder, write):
    _edit(write(folder, enhanced=True), lambda k, ds: setattr(ds, "NumberOfFrames", 9))


def mha_garbage(folder, write):
    folder.mkdir()
    (folder / "t2.mha").write_bytes(b"not an image" * 100)
    return folder / "t2.mha"


def mha_cut(folder, write):
    return _mha(folder, data=ARRAY.tobytes()[:-1000])


def mha_with_nan(folder, write):
    array = ARRAY.astype(np.float32)
    array[0, 0, 0] = np.nan
    return _mha(folder, kind="MET_FLOAT", data=array.tobytes())


READING = [
    (missing_position, "no-position", "1 of 7 slices"),
    (missing_orientation, "no-position", "7 of 7 slices"),
    (missing_pixel_spacing, "no-pixel-spacing", "7 of 7 slices"),
    (zero_pixel_spacing, "no-pixel-spacing", "Pixel Spacing above 0"),
    (crooked_orientation, "invalid-orientation", "lengths 1.000 and 1.118"),
    (missing_slice, "missing-slices", r"1 slices are missing: 6 slices 4 mm apart, with gaps of 8 mm"),
    (duplicate_slice, "duplicate-slices", "8 slices at 7 places; more than one lies at 0 mm"),
    (uneven_gaps, "uneven-gaps", "gaps from 2.7 to 5.3 mm"),
    (mixed_orientations, "mixed-orientations", "2 orientations: 3 facing"),
    (mixed_sizes, "mixed-sizes", "7 of 16 x 20, 1 of 16 x 24"),
    (mixed_spacing, "mixed-spacing", r"\[0.6, 0.5\] to \[0.6, 0.55\] mm"),
    (two_echoes, "4-d", r"14 frames at 7 places, 2 at each \(echo times \[20.0, 80.0\]"),
    (three_planes, "localizer", "is a localizer"),
    (screenshot, "color", "RGB"),
    (constant_pixels, "constant", "all 2240 voxels have the value 12"),
    (cut_in_the_pixels, "truncated-file", "540 bytes of pixel data where the header promises 640"),
    (cut_in_the_header, "truncated-file", "without Rows and Columns; it lies beside the slices"),
    (without_pixels, "truncated-file", "no pixel data"),
    (empty_file_among_slices, "unreadable-file", "a file is empty; it lies beside the slices"),
    (garbage_with_a_dicom_name, "unreadable-file", "not DICOM"),
    (unknown_compression, "no-decoder", "MPEG2"),
    (damaged_compression, "unreadable-file", "cannot be decoded"),
    (far_apart_slices, "absurd-spacing", "0.5 x 0.6 x 80 mm, outside 0.05 to 25 mm"),
    (two_studies, "several-studies", "2 studies"),
    (dicom_beside_nifti, "several-scans", "7 DICOM files and 1 of other formats"),
    (empty_folder, "no-images", "0 files"),
    (folder_of_texts, "no-images", "1 files"),
    (text_file, "unsupported-format", "not an image"),
    (no_such_path, "path-not-found", "no such file or folder"),
    (two_niftis, "several-scans", "2 image files"),
    (nifti_without_affine, "no-affine", "neither sform nor qform"),
    (nifti_with_singular_affine, "no-affine", "not finite or not invertible"),
    (nifti_with_two_affines, "ambiguous-affine", "LAS and RAS"),
    (nifti_of_two_volumes, "4-d", r"\(7, 16, 20, 2\)"),
    (nifti_with_nan, "non-finite", "1 of 2240 voxels"),
    (nifti_with_infinity, "non-finite", "2 of 2240 voxels"),
    (nifti_constant, "constant", "the value 0"),
    (nifti_in_meters_undeclared, "absurd-spacing", "0.004 x 0.0006 x 0.0005 mm"),
    (nifti_in_color, "color", "R, G, B"),
    (nifti_cut, "truncated-file", "shorter than its header says"),
    (nifti_gzip_cut, "truncated-file", "shorter than its header says"),
    (nifti_garbage, "unreadable-file", "not a NIfTI image"),
    (one_line_of_voxels, "not-an-image", r"\(1, 1, 20\)"),
    (mha_without_position, "no-affine", "no Offset"),
    (mha_without_directions, "no-affine", "no TransformMatrix"),
    (mha_in_color, "color", "3 values"),
    (mha_of_two_volumes, "4-d", r"\(7, 16, 20, 2\)"),
    (too_many_frames, "unreadable-file", "999999999 frames"),
    (more_frames_than_positions, "no-position", "2 of 9 slices"),
    (mha_garbage, "unreadable-file", "a MetaImage header"),
    (mha_cut, "unreadable-file", "truncated, damaged"),
    (mha_with_nan, "non-finite", "1 of 2240 voxels"),
]


@pytest.mark.parametrize(("breaking", "code", "match"), READING, ids=[case[0].__name__ for case in READING])
def test_bad_input_is_named(tmp_path, write, identifying, caplog, breaking, code, match):
    caplog.set_level(logging.DEBUG, logger="siamed")
    place = breaking(tmp_path / "case", write) or tmp_path / "case"
    with pytest.raises(CaseError, match=match) as caught:
        read_scan(place)
    assert caught.value.code == code
    assert caught.value.hint and caught.value.path is not None
    text = str(caught.value) + caplog.text + "".join(traceback.format_exception(caught.value))
    assert not [part for part in identifying if part in text]


# --- good scans that are no spine in sagittal MR ----------------------------------------------------------


def ct_series(folder, write):
    write(folder, modality="CT", series_description="spine sag", echo_time_ms=None, repetition_time_ms=None)


def ct_nifti(folder, write):
    return _nifti(folder, array=np.maximum(ARRAY, 1) - 1024)


def axial(folder, write):
    write(folder, matrix=np.array([[0.5, 0, 0, 0], [0, -0.6, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]]))


def coronal(folder, write):
    write(folder, matrix=np.array([[0.5, 0, 0, 0], [0, 0, 5, 0], [0, -0.6, 0, 0], [0, 0, 0, 1.0]]))


def oblique_normal(folder, write):
    normal, row = np.ones(3) / np.sqrt(3), np.array([1, -1, 0]) / np.sqrt(2)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([0.5 * row, 0.5 * np.cross(normal, row), 4 * normal], axis=1)
    write(folder, matrix=matrix)


def localizer_by_type(folder, write):
    write(folder, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))


def localizer_by_name(folder, write):
    write(folder, series_description="3-plane scout")


VIEWING = [
    (ct_series, "not-mr", "the scan is CT"),
    (ct_nifti, "not-mr", "values down to -1023"),
    (axial, "axial-series", r"axial \(0 degrees off, voxels 0.5 x 0.6 x 5 mm, axes RPI\)"),
    (coronal, "coronal-series", "slices are coronal"),
    (oblique_normal, "oblique-series", r"up to 55 degrees .* \(limit 45\)"),
    (localizer_by_type, "localizer", "a localizer"),
    (localizer_by_name, "localizer", "a localizer"),
]


@pytest.mark.parametrize(("making", "code", "match"), VIEWING, ids=[case[0].__name__ for case in VIEWING])
def test_what_is_no_sagittal_mr_is_read_but_not_viewed(tmp_path, write, identifying, making, code, match):
    scan = read_scan(making(tmp_path / "case", write) or tmp_path / "case")
    with pytest.raises(CaseError, match=match) as caught:
        sagittal_view(scan)
    assert caught.value.code == code and caught.value.path == scan.source
    assert not [part for part in identifying if part in str(caught.value) + repr(scan)]


def test_positions_rounded_to_a_tenth_of_a_mm_are_even(tmp_path, write, affine):
    """Many exports round so; 0.1 mm is the documented tolerance."""
    matrix = affine.copy()
    matrix[0, 2] = -3.3333
    paths = write(tmp_path / "s", matrix=matrix)

    def rounded(k, ds):
        ds.ImagePositionPatient = [round(float(v), 1) for v in ds.ImagePositionPatient]

    _edit(paths, rounded)
    assert read_scan(tmp_path / "s").spacing_mm[2] == pytest.approx(3.3333, abs=0.02)


def test_ringing_below_zero_is_not_taken_for_ct(tmp_path):
    array = ARRAY.astype(np.int16) * 30
    array[0, 0, 0] = -950
    assert sagittal_view(read_scan(_nifti(tmp_path / "case", array=array))).shape == (1, 7, 20, 16)

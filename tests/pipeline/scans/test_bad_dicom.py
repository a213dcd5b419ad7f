"""Every way in which a DICOM series can be bad ends in an error of its own, with values and a way out.

Each case is a real series, written here and then broken in one way: a function that gets the folder and what
writes a series, and may return what is to be read.
"""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from toy.broken import assert_named, delete, edit, nifti

from siamed.pipeline.scans import read_scan


def missing_position(folder, write):
    edit(write(folder)[3:4], delete("ImagePositionPatient"))


def missing_orientation(folder, write):
    edit(write(folder), delete("ImageOrientationPatient"))


def missing_pixel_spacing(folder, write):
    edit(write(folder), delete("PixelSpacing"))


def zero_pixel_spacing(folder, write):
    edit(write(folder), lambda k, ds: setattr(ds, "PixelSpacing", [0, 0.5]))


def crooked_orientation(folder, write):
    edit(write(folder), lambda k, ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0.5, -1]))


def missing_slice(folder, write):
    write(folder)[3].unlink()


def duplicate_slice(folder, write):
    def other_instance(k, ds):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"

    paths = write(folder)
    shutil.copy(paths[3], folder / "copy.dcm")
    edit([folder / "copy.dcm"], other_instance)


def uneven_gaps(folder, write):
    def shift(k, ds):
        ds.ImagePositionPatient = [float(ds.ImagePositionPatient[0]) + 1.3, *ds.ImagePositionPatient[1:]]

    edit(write(folder)[3:4], shift)


def mixed_orientations(folder, write):
    edit(write(folder)[:3], lambda k, ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]))


def mixed_sizes(folder, write):
    write(folder, series_uid="1.2.3.5")
    write(folder / "more", array=np.arange(16 * 24).reshape(16, 24, 1), series_uid="1.2.3.5")


def mixed_spacing(folder, write):
    edit(write(folder)[:3], lambda k, ds: setattr(ds, "PixelSpacing", [0.6, 0.55]))


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

    edit(write(folder), color)


def constant_pixels(folder, write):
    write(folder, array=np.full((16, 20, 7), 12))


def cut_in_the_pixels(folder, write):
    path = write(folder)[2]
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_the_header(folder, write):
    path = write(folder)[2]
    path.write_bytes(path.read_bytes()[:700])


def without_pixels(folder, write):
    edit(write(folder), delete("PixelData"))


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
    nifti(folder)


def too_many_frames(folder, write):
    edit(write(folder, enhanced=True), lambda k, ds: setattr(ds, "NumberOfFrames", 999999999))


def more_frames_than_positions(folder, write):
    edit(write(folder, enhanced=True), lambda k, ds: setattr(ds, "NumberOfFrames", 9))


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
    (too_many_frames, "unreadable-file", "999999999 frames"),
    (more_frames_than_positions, "no-position", "2 of 9 slices"),
]


@pytest.mark.parametrize(("breaking", "code", "match"), READING, ids=[case[0].__name__ for case in READING])
def test_bad_dicom_is_named(tmp_path, write, identifying, caplog, breaking, code, match):
    place = breaking(tmp_path / "case", write) or tmp_path / "case"
    assert_named(place, code, match, identifying, caplog)


def test_positions_rounded_to_a_tenth_of_a_mm_are_even(tmp_path, write, affine):
    """Many exports round so; 0.1 mm is the documented tolerance."""
    matrix = affine.copy()
    matrix[0, 2] = -3.3333
    paths = write(tmp_path / "s", matrix=matrix)

    def rounded(k, ds):
        ds.ImagePositionPatient = [round(float(v), 1) for v in ds.ImagePositionPatient]

    edit(paths, rounded)
    assert read_scan(tmp_path / "s").spacing_mm[2] == pytest.approx(3.3333, abs=0.02)

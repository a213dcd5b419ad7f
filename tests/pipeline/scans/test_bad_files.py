"""Every way in which a file or folder can be bad ends in an error of its own, with values and a way out.

Each case is a real file (or folder), written here and then broken in one way: a function that gets the folder
and what writes a series, and returns what is to be read. DICOM series: ``test_bad_dicom.py``.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from toy.broken import ARRAY, assert_named, nifti


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
    nifti(folder, name="t1.nii")
    nifti(folder, name="t2.nii")


def nifti_without_affine(folder, write):
    return nifti(folder, codes=(0, 0))


def nifti_with_singular_affine(folder, write):
    path = nifti(folder)
    image = nibabel.load(path)
    image.header["srow_x"] = [0, 0, 0, 0]
    nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(folder / "t2_b.nii")
    return folder / "t2_b.nii"


def nifti_with_two_affines(folder, write):
    path = nifti(folder)
    image = nibabel.load(path)
    image.set_sform(np.diag([-4.0, 0.6, 0.5, 1.0]), 1)
    nibabel.save(image, folder / "t2_b.nii")
    return folder / "t2_b.nii"


def nifti_of_two_volumes(folder, write):
    return nifti(folder, array=np.stack([ARRAY, ARRAY], axis=-1))


def nifti_with_nan(folder, write):
    array = ARRAY.astype(np.float32)
    array[3, 4, 5] = np.nan
    return nifti(folder, array=array)


def nifti_with_infinity(folder, write):
    array = ARRAY.astype(np.float32)
    array[3, 4, 5:7] = np.inf
    return nifti(folder, array=array)


def nifti_constant(folder, write):
    return nifti(folder, array=np.zeros_like(ARRAY))


def nifti_in_meters_undeclared(folder, write):
    return nifti(folder, affine=np.diag([0.004, 0.0006, 0.0005, 1.0]))


def nifti_in_color(folder, write):
    colors = np.zeros(ARRAY.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nifti(folder, array=colors)


def nifti_cut(folder, write):
    path = nifti(folder, name="t2.nii")
    path.write_bytes(path.read_bytes()[:-500])
    return path


def nifti_gzip_cut(folder, write):
    path = nifti(folder)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def nifti_garbage(folder, write):
    folder.mkdir()
    (folder / "t2.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    return folder / "t2.nii.gz"


def one_line_of_voxels(folder, write):
    return nifti(folder, array=ARRAY[:1, :1])


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
    (mha_garbage, "unreadable-file", "a MetaImage header"),
    (mha_cut, "unreadable-file", "truncated, damaged"),
    (mha_with_nan, "non-finite", "1 of 2240 voxels"),
]


@pytest.mark.parametrize(("breaking", "code", "match"), READING, ids=[case[0].__name__ for case in READING])
def test_a_bad_file_is_named(tmp_path, write, identifying, caplog, breaking, code, match):
    place = breaking(tmp_path / "case", write) or tmp_path / "case"
    assert_named(place, code, match, identifying, caplog)

"""Bodies drawn around kidneys: these stay what they are, all else lies where it lies in people."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from siamed.pipeline.synthesis.abdomen import Organs, draw_abdomen
from siamed.pipeline.synthesis.drawing import Grid, smooth_field
from siamed.pipeline.synthesis.mr_bodies import mr_body
from siamed.pipeline.synthesis.prepare import map_items, prepare_maps
from siamed.transforms.tissues import CLUSTERS, KIDNEY
from siamed.transforms.tissues import tissue_number as n


def kidneys() -> np.ndarray:
    """Both kidneys on 4 mm voxels in the canonical axes, the right one lower; a tumor in the left one."""
    d, h, w = np.indices((34, 15, 48))
    right = ((d - 20) / 13) ** 2 + ((h - 7) / 7) ** 2 + ((w - 8) / 8) ** 2 <= 1
    left = ((d - 13) / 13) ** 2 + ((h - 7) / 7) ** 2 + ((w - 39) / 8) ** 2 <= 1
    labels = (right | left).astype(np.uint8)
    labels[left & (d < 5)] = 2
    return labels


@pytest.mark.parametrize("seed", range(6))
def test_the_kidneys_keep_shape_and_place_relative_to_each_other(seed: int) -> None:
    given = kidneys()
    tissues = draw_abdomen(given, 4.0, np.random.default_rng(seed))
    found = np.isin(tissues, KIDNEY)
    places = np.argwhere(found)
    box = tuple(slice(a, b) for a, b in zip(places.min(0), places.max(0) + 1, strict=True))
    own = np.argwhere(given)
    inner = tuple(slice(a, b) for a, b in zip(own.min(0), own.max(0) + 1, strict=True))
    assert np.array_equal(found[box], given[inner] > 0)
    assert np.array_equal(tissues[box] == n("renal tumor"), given[inner] == 2)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_drawn_lies_where_it_lies_in_people(seed: int) -> None:
    tissues = draw_abdomen(kidneys(), 4.0, np.random.default_rng(seed))
    middle = {
        name: np.argwhere(tissues == n(name)).mean(0) for name in ("artery", "vein", "disc", "spinal canal")
    }
    assert middle["artery"][2] > middle["vein"][2]  # the aorta to the left of the vena cava
    assert middle["artery"][1] < middle["disc"][1] < middle["spinal canal"][1]  # vessels, spine, canal
    assert set(np.unique(tissues[:, 0, [0, -1]])) == {n("air")}  # the corners in front of the body
    found = np.isin(tissues, KIDNEY)
    outside = np.isin(tissues, [n("air"), n("skin")])
    assert not (ndimage.binary_dilation(found) & outside).any()


def test_the_same_seed_draws_the_same_body_and_another_another() -> None:
    one, two, other = (draw_abdomen(kidneys(), 4.0, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_liver_and_spleen_follow_their_kidneys_to_their_sides() -> None:
    shape = (40, 40, 70)
    liver, spleen, both = (np.zeros(shape, bool) for _ in range(3))
    both[10:30, 20:30, 15:25] = both[10:30, 20:30, 45:55] = True
    liver[0:20, 5:28, 5:24] = True
    spleen[2:14, 22:34, 52:66] = True
    tissues = draw_abdomen(kidneys(), 4.0, np.random.default_rng(3), Organs(liver, spleen, both))
    middle = np.argwhere(tissues == n("spinal canal")).mean(0)[2]
    assert np.argwhere(tissues == n("liver")).mean(0)[2] < middle  # W grows to the left
    assert np.argwhere(tissues == n("spleen")).mean(0)[2] > middle


def mr_scan(folder: Path) -> tuple[Path, Path]:
    """A body of two gray values with organs, in RAS."""
    label = np.zeros((40, 30, 20), np.uint8)
    label[26:32, 10:16, 5:14], label[8:14, 10:16, 7:16], label[24:34, 16:24, 10:18] = 2, 3, 1
    image = np.zeros(label.shape, np.float32)
    image[4:36, 4:26] = 100
    image[10:30, 8:22] = 300
    image += np.array([0, 50, 400, 400, 0], np.float32)[label]
    affine = np.diag([5.0, 5.0, 6.0, 1.0])
    for array, name in ((image, "p_image"), (label, "p_label")):
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return folder / "p_image.nii.gz", folder / "p_label.nii.gz"


def test_a_real_body_keeps_its_labels_and_falls_into_clusters(tmp_path: Path) -> None:
    tissues = mr_body(*mr_scan(tmp_path), 5.0, np.random.default_rng(0))
    assert tissues.shape == (24, 30, 40)
    assert set(np.unique(tissues)) & set(CLUSTERS)
    kidney = np.argwhere(np.isin(tissues, KIDNEY))
    # The canonical axes: the right kidney, larger in x, has the smaller W.
    assert kidney[:, 2].min() == pytest.approx(40 - 32, abs=1)
    assert tissues[0, 0, 0] == n("air")
    liver = np.argwhere(tissues == n("liver"))
    assert liver.mean(0)[1] < kidney.mean(0)[1]  # in front of the kidneys


def test_maps_are_written_once_for_each_patient_and_given_by_fold(tmp_path: Path) -> None:
    masks, organs = tmp_path / "masks", tmp_path / "organs"
    masks.mkdir()
    organs.mkdir()
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = -4.0
    affine[3, 3] = 1
    for name in ("case_1", "case_2"):
        nibabel.save(nibabel.Nifti1Image(kidneys(), affine), masks / f"{name}.nii.gz")
    mr_scan(organs)
    found = prepare_maps(masks, organs, tmp_path / "out", 4.0, 2, 0)
    assert [(row.map_id, row.subject_id, row.origin) for row in found] == [
        *((f"case_{i}_{j}", f"case_{i}", "kits19") for i in (1, 2) for j in (0, 1)),
        ("chaos_p_0", "chaos_p", "chaos"),
        ("chaos_p_1", "chaos_p", "chaos"),
    ]
    again = prepare_maps(masks, organs, tmp_path / "again", 4.0, 2, 0)
    assert [row.sha256 for row in again] == [row.sha256 for row in found]
    assert len({row.sha256 for row in found}) == 6
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["case_1"], ["case_2", "chaos_p"]]}), encoding="utf-8")
    items = map_items(tmp_path / "out", split, 0, "training", ["kits19", "chaos"])
    assert {item["subject_id"] for item in items} == {"case_2", "chaos_p"}
    assert len(map_items(tmp_path / "out", split, 0, "training", ["kits19"])) == 2
    with pytest.raises(
        ValueError, match=r"maps of the split's validation part, it holds none of \['chaos'\]"
    ):
        map_items(tmp_path / "out", split, 0, "validation", ["chaos"])
    image = nibabel.load(items[0]["tissues"])
    assert nibabel.aff2axcodes(image.affine) == ("I", "P", "L")
    with pytest.raises(ValueError, match="masks must hold NAME.nii.gz, 'out' holds none"):
        prepare_maps(tmp_path / "out", None, tmp_path / "none", 4.0, 1, 0)


def test_shapes_by_hand() -> None:
    grid = Grid((20, 20, 20), 2.0)
    ball = grid.ellipsoid((20, 20, 20), (10, 10, 10))
    assert int(ball.sum()) == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.05)
    line = np.stack([np.full(10, 20.0), np.full(10, 20.0), np.linspace(10, 28, 10)], 1)
    tube = grid.tube(line, 4.0)
    assert tube[10, 10, 5:15].all()
    assert tube[10, 12, 8]
    assert not tube[10, 13, 8]
    assert not grid.tube(line + 500, 4.0).any()
    path = grid.walk(np.random.default_rng(0), (20, 20, 20), 30, 0.2)
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), 2.0, rtol=1e-6)
    assert float(smooth_field(np.random.default_rng(0), (30, 30, 30), 4).std()) == pytest.approx(1, abs=0.01)

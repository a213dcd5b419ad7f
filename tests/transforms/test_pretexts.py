"""The transforms of the self-supervised tasks: what a network is shown, and the label that comes free with
it."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, ornt_transform
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from siamed.transforms.rand_offset_patches import (
    OffsetPair,
    RandOffsetPatchesd,
    cut_patches,
    gaussian_heatmap,
    heatmap_center,
)
from siamed.transforms.rand_partition_crop import RandPartitionCropd
from siamed.transforms.rand_quarter_turn import TURNS, RandQuarterTurnd, quarter_turn
from siamed.transforms.rand_relative_position import DIRECTIONS, RandRelativePositiond
from siamed.transforms.rand_remove_boxes import RandRemoveBoxesd, remove_boxes
from siamed.transforms.rand_replace_pixels import RandReplacePixelsd, replace_pixels

KEYS = ("image", "label")
PRETEXTS = {
    "replace_pixels": RandReplacePixelsd(KEYS, 0.2, 0.0, 1.0),
    "remove_boxes": RandRemoveBoxesd(KEYS, (2, 4), 3, 6),
    "quarter_turn": RandQuarterTurnd(KEYS, "all"),
    "relative_position": RandRelativePositiond(KEYS, (4, 4, 4), (2, 2, 2), (1, 1, 1)),
    "offset_patches": RandOffsetPatchesd(KEYS, (8, 8), 3, 4, (9, 9), 1.5),
    "partition_crop": RandPartitionCropd(KEYS, (3, 8, 8), 4),
}


def volume(side: int = 20) -> MetaTensor:
    noise = torch.randn(1, side, side, side, generator=torch.Generator().manual_seed(0))
    return MetaTensor(noise, affine=np.diag([-1.0, -1.0, -1.0, 1.0]))


@pytest.mark.parametrize("name", PRETEXTS)
def test_the_seed_decides_and_the_source_stays(name: str) -> None:
    transform, source = PRETEXTS[name], volume()
    before, results = source.clone(), []
    for seed in (3, 3, 4):
        transform.set_random_state(seed=seed)
        results.append([transform({"image": source}) for _ in range(3)])
    first, again, other = results
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["label"], b["label"])
    assert any(not torch.equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True))
    assert torch.equal(source, before)


# --- masked pixels ---------------------------------------------------------------------------------------


def test_only_masked_pixels_change_and_their_share_is_the_one_asked_for() -> None:
    source = torch.rand(2, 100, 100)
    transform = RandReplacePixelsd(KEYS, 0.3, 5.0, 0.1).set_random_state(seed=0)
    done = transform({"image": source})
    image, mask = done["label"][:2], done["label"][2].bool()
    assert torch.equal(image, source)
    assert torch.equal((done["image"] != source).any(0), mask)
    assert float(mask.float().mean()) == pytest.approx(0.3, abs=0.02)
    noise = done["image"][:, mask]
    assert (float(noise.mean()), float(noise.std())) == pytest.approx((5.0, 0.1), abs=0.01)


def test_pixels_are_replaced_by_hand() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0]])
    out = replace_pixels(image, torch.tensor([[True, False, True]]), torch.tensor([[7.0, 8.0, 9.0]]))
    assert out.tolist() == [[7.0, 2.0, 9.0]]


# --- boxes -----------------------------------------------------------------------------------------------


def test_boxes_are_removed_by_hand() -> None:
    image = torch.arange(9.0).view(1, 3, 3) + 1
    out, mask = remove_boxes(image, [(slice(0, 2), slice(1, 3))], 0.0)
    assert out[0].tolist() == [[1, 0, 0], [4, 0, 0], [7, 8, 9]]
    assert mask[0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]


def test_the_mask_is_where_the_image_was_changed_and_sides_are_in_their_range() -> None:
    transform = RandRemoveBoxesd(KEYS, (1, 1), (2, 3), (4, 5), value=-7.0).set_random_state(seed=1)
    for _ in range(20):
        source = torch.rand(1, 30, 40)
        done = transform({"image": source})
        mask = done["label"][1].bool()
        assert torch.equal(done["image"][0] == -7, mask)
        assert torch.equal(done["label"][:1], source)
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        assert 2 <= rows <= 4
        assert 3 <= columns <= 5
        assert mask.sum() == rows * columns


# --- quarter turns ---------------------------------------------------------------------------------------


def test_the_ten_turns_of_a_cube_are_ten_and_undone_by_three_more() -> None:
    cube = torch.arange(27.0).view(1, 3, 3, 3)
    turned = [quarter_turn(cube, label) for label in range(len(TURNS["all"]))]
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 10
    assert torch.equal(turned[0], cube)
    for label in (1, 4, 7):
        assert torch.equal(quarter_turn(quarter_turn(cube, label), label + 2), cube)


def test_in_plane_turns_keep_every_slice_where_it_is() -> None:
    stack = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 4, 4)
    for label in range(4):
        assert torch.equal(quarter_turn(stack, label, "in_plane"), stack)


def test_the_label_is_the_turn() -> None:
    source = volume(6)
    transform = RandQuarterTurnd(KEYS, "all").set_random_state(seed=0)
    seen = set()
    for _ in range(60):
        done = transform({"image": source})
        assert torch.equal(done["image"], quarter_turn(source.as_tensor(), int(done["label"])))
        seen.add(int(done["label"]))
    assert seen == set(range(10))


@pytest.mark.parametrize(("turns", "lowest", "highest"), [("in_plane", 0.19, 0.31), ("all", 0.26, 0.34)])
def test_thick_slices_tell_turns_out_of_their_plane_without_any_anatomy(
    turns: str, lowest: float, highest: float
) -> None:
    # Noise in thick slices, resampled to cubes: three numbers, how rough it is along each axis, tell
    # along which of them the slices lay. In their plane they tell nothing (chance 1/4); of all ten turns they
    # tell which of three groups it is, so that 3/10 are right where chance is 1/10.
    generator = torch.Generator().manual_seed(0)
    transform = RandQuarterTurnd(KEYS, turns).set_random_state(seed=0)
    rough, labels = [], []
    for _ in range(900):
        thick = torch.randn(1, 1, 17, 32, 32, generator=generator)
        noise = torch.nn.functional.interpolate(thick, (32, 32, 32), mode="trilinear")[0]
        done = transform({"image": noise})
        rough.append([float(done["image"].diff(dim=axis).abs().mean()) for axis in (1, 2, 3)])
        labels.append(int(done["label"]))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rough[:450], labels[:450])
    assert lowest < model.score(rough[450:], labels[450:]) < highest


def test_thick_slices_are_turned_in_their_plane_alone() -> None:
    thick = MetaTensor(torch.zeros(1, 4, 4, 4), affine=np.diag([5.0, 1.0, 1.0, 1.0]))
    with pytest.raises(
        ValueError, match=r"image must have one spacing where it is turned, got \[5. 1. 1.\] mm"
    ):
        RandQuarterTurnd(KEYS, "all")({"image": thick})
    assert RandQuarterTurnd(KEYS, "in_plane")({"image": thick})["image"].shape == (1, 4, 4, 4)
    with pytest.raises(ValueError, match=r"equal sides where it is turned, got \(4, 5, 5\)"):
        RandQuarterTurnd(KEYS, "all")({"image": torch.zeros(1, 4, 5, 5)})
    with pytest.raises(ValueError, match="turns must be one of .* got 'some'"):
        RandQuarterTurnd(KEYS, "some")


# --- relative position -----------------------------------------------------------------------------------

WORLD = {  # the world coordinate (RAS+) along which a direction lies, and its sign
    "superior": (2, 1),
    "inferior": (2, -1),
    "anterior": (1, 1),
    "posterior": (1, -1),
    "right": (0, 1),
    "left": (0, -1),
}


def coordinates(codes: str) -> MetaTensor:
    """A volume whose three channels are each voxel's own place in the world, stored in some orientation."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = -10, 20, 5
    grid = np.indices((24, 22, 20)).reshape(3, -1)
    world = (affine[:3, :3] @ grid + affine[:3, 3:]).reshape(3, 24, 22, 20)
    turn = ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes)))
    parts = [nibabel.Nifti1Image(part, affine).as_reoriented(turn) for part in world]
    return MetaTensor(np.stack([part.get_fdata() for part in parts]), affine=parts[0].affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "IPL", "SAR", "PIR", "ASL"])
def test_the_label_is_the_side_in_the_patient_however_the_array_is_stored(codes: str) -> None:
    source, seen = coordinates(codes), set()
    transform = RandRelativePositiond(KEYS, (4, 4, 4), (2, 2, 2), (1, 1, 1)).set_random_state(seed=0)
    for _ in range(80):
        done = transform({"image": source})
        reference, query = done["image"][:3].flatten(1).mean(1), done["image"][3:].flatten(1).mean(1)
        away = (query - reference) / torch.tensor([2.0, 3.0, 4.0])  # in voxels of the world's axes
        name = DIRECTIONS[int(done["label"])]
        axis, sign = WORLD[name]
        assert float(away[axis]) * sign == pytest.approx(6, abs=1 + 1e-4)
        assert all(abs(float(away[k])) <= 1 + 1e-4 for k in range(3) if k != axis)
        seen.add(name)
    assert seen == set(DIRECTIONS)


def test_cubes_lie_inside_and_apart() -> None:
    transform = RandRelativePositiond(KEYS, (5, 4, 3), (2, 3, 1), (2, 1, 0)).set_random_state(seed=1)
    for _ in range(200):
        pair = transform.draw((18, 16, 14), ("I", "P", "L"))
        for first in (pair.reference, pair.query):
            assert all(0 <= a and a + c <= n for a, c, n in zip(first, (5, 4, 3), (18, 16, 14), strict=True))
        apart = [abs(a - b) - c for a, b, c in zip(pair.reference, pair.query, (5, 4, 3), strict=True)]
        assert max(apart) >= 0


def test_an_axis_without_room_is_left_out_and_none_at_all_is_an_error() -> None:
    transform = RandRelativePositiond(KEYS, (4, 4, 4), (1, 1, 1), (0, 0, 0)).set_random_state(seed=0)
    labels = {transform.draw((5, 20, 20), ("I", "P", "L")).label for _ in range(60)}
    assert {DIRECTIONS[label] for label in labels} == {"anterior", "posterior", "right", "left"}
    with pytest.raises(ValueError, match="image must have room for two cubes"):
        transform.draw((5, 8, 8), ("I", "P", "L"))
    with pytest.raises(ValueError, match="image must be a MetaTensor"):
        transform({"image": torch.zeros(1, 20, 20, 20)})


def test_masked_borders_say_nothing_and_the_label_is_the_same() -> None:
    cubes = {}
    for border in ((0, 0, 0), (1, 1, 0)):
        transform = RandRelativePositiond(KEYS, (4, 4, 4), (2, 2, 2), (1, 1, 1), border)
        transform.set_random_state(seed=3)
        found = transform({"image": volume()})
        cubes[border] = (found["image"], int(found["label"]))
    (whole, label), (masked, same) = cubes.values()
    assert label == same
    inside = (slice(None), slice(1, 3), slice(1, 3), slice(None))
    assert torch.equal(masked[inside], whole[inside])
    for member, kept in zip(masked, whole[inside], strict=True):
        assert torch.allclose(member[[0, 3]], kept.mean())
        assert torch.allclose(member[:, [0, 3]], kept.mean())


def test_impossible_cubes_are_named() -> None:
    with pytest.raises(ValueError, match="masked_border must leave something of the cube"):
        RandRelativePositiond(KEYS, (4, 4, 4), (1, 1, 1), (0, 0, 0), (2, 0, 0))
    with pytest.raises(ValueError, match="jitter must be at most gap"):
        RandRelativePositiond(KEYS, (4, 4, 4), (1, 1, 1), (2, 0, 0))
    with pytest.raises(ValueError, match="cube must be three numbers of voxels, got .*0"):
        RandRelativePositiond(KEYS, (0, 4, 4), (1, 1, 1), (0, 0, 0))


# --- offsets ---------------------------------------------------------------------------------------------


def test_the_heatmaps_peak_is_the_offset_below_a_pixel() -> None:
    size = (33, 41)
    for offset in ((0, 0), (4, -7), (-12, 12), (1, 5)):
        center = heatmap_center(offset, 12, size)
        heatmap = gaussian_heatmap(center, size, 2.0)[0].double()
        rows, columns = (torch.arange(n, dtype=torch.double) for n in size)
        # The logarithm of a Gaussian is a parabola: its vertex, from three pixels, is the center itself.
        logs = heatmap.log()
        row, column = divmod(int(heatmap.argmax()), size[1])
        row, column = min(max(row, 1), size[0] - 2), min(max(column, 1), size[1] - 2)
        found = [
            at[k] + (a - c) / (2 * (a - 2 * b + c))
            for at, k, (a, b, c) in (
                (rows, row, logs[row - 1 : row + 2, column]),
                (columns, column, logs[row, column - 1 : column + 2]),
            )
        ]
        assert [float(f) for f in found] == pytest.approx(list(center), abs=1e-4)
    assert heatmap_center((0, 0), 12, size) == (16.0, 20.0)
    assert heatmap_center((12, -12), 12, size) == (32.0, 0.0)


def test_patches_lie_where_the_target_says() -> None:
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (12, 40, 50)), indexing="ij")).float()
    code = (grid[0] * 10000 + grid[1] * 100 + grid[2])[None]
    transform = RandOffsetPatchesd(KEYS, (8, 10), 4, 6, None, 1.0).set_random_state(seed=0)
    for _ in range(50):
        done = transform({"image": code})
        first, second = done["image"][1, 0, 0].item(), done["image"][4, 0, 0].item()
        (k, y, x), (u, v, w) = (np.unravel_index(int(a), (99, 100, 100)) for a in (first, second))
        assert abs(int(k) - int(u)) == 4
        shares = [(int(v) - int(y)) / 6, (int(w) - int(x)) / 6]
        assert done["label"].tolist() == pytest.approx(shares)
        assert done["image"].shape == (6, 8, 10)


def test_three_neighboring_slices_are_the_channels() -> None:
    image = torch.arange(9.0).view(1, 9, 1, 1).expand(1, 9, 4, 4)
    cut = cut_patches(image, OffsetPair((1, 0, 0), (7, 1, 1)), (2, 2))
    assert cut[:, 0, 0].tolist() == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"distance": 2}, "at least 3 slices"),
        ({"largest": 0}, "largest must be"),
        ({"sigma": 0.0}, "sigma above 0"),
    ],
)
def test_impossible_offsets_are_named(change: dict[str, Any], why: str) -> None:
    settings: dict[str, Any] = {"patch": (8, 8), "distance": 3, "largest": 4, "heatmap": (9, 9), "sigma": 1.0}
    with pytest.raises(ValueError, match=why):
        RandOffsetPatchesd(KEYS, **{**settings, **change})
    with pytest.raises(ValueError, match=r"image must have at least 6 slices of \[16, 16\] pixels"):
        RandOffsetPatchesd(KEYS, **settings).draw((5, 30, 30))

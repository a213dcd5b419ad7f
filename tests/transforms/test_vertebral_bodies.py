"""Bodies, corners and the sacral plate from label maps whose geometry is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from siamed.transforms.vertebral_bodies import corners_of_mask, separate_bodies, vertebral_bodies

SPACING = (3.0, 1.0, 1.0)


def column(slices: int = 5) -> np.ndarray:
    """Three bodies of 30 x 26 px, discs of 8 px between and below, a canal behind, then arches."""
    label = np.zeros((slices, 160, 120), np.int16)
    for k in range(3):
        top = 20 + 34 * k
        label[:, top : top + 26, 30:60] = 1
        label[:, top + 26 : top + 34, 31:59] = 2
        label[:, top + 5 : top + 20, 75:100] = 1  # posterior elements
    label[:, 10:140, 62:74] = 3
    return label


def test_what_lies_behind_the_canal_is_no_body() -> None:
    bodies = separate_bodies(column())
    assert bodies[:, :, 30:60].any()
    assert not bodies[:, :, 62:].any()


def test_a_slice_without_canal_takes_the_canal_of_its_neighbor() -> None:
    label = column()
    label[0][label[0] == 3] = 1  # a pedicle joins body and arch in the outermost slice
    bodies = separate_bodies(label)
    assert not bodies[0, :, 62:].any()
    assert bodies[0, 30, 40]


def test_three_bodies_and_s1_are_ordered_from_the_sacrum_up() -> None:
    bodies = vertebral_bodies(column(), SPACING)
    assert [b.order for b in bodies] == [0, 1, 2, 3]
    assert [b.sacral for b in bodies] == [True, False, False, False]
    rows = [np.mean([c[0] for c in b.slice_centers.values()]) for b in bodies]
    assert rows == sorted(rows, reverse=True)


def test_bodies_that_a_bony_bridge_joins_are_two() -> None:
    label = column()
    label[:, 40:60, 24:32] = 1  # in front of the disc between the upper two bodies
    bodies = vertebral_bodies(label, SPACING)
    assert [b.order for b in bodies] == [0, 1, 2, 3]
    upper = bodies[3].slice_corners[2]
    assert abs(upper[1:3, 0] - [20, 45]).max() <= 5  # its posterior corners, away from the bridge


def test_corners_of_a_rectangle_are_its_corners() -> None:
    lowest = vertebral_bodies(column(), SPACING)[1]
    expected = np.array([[88, 30], [88, 59], [113, 59], [113, 30]], float)  # AS, PS, PI, AI of rows 88-113
    np.testing.assert_allclose(lowest.slice_corners[2], expected, atol=1.5)


def test_s1_has_its_plate_at_the_lower_edge_of_the_lowest_disc() -> None:
    sacral = vertebral_bodies(column(), SPACING)[0]
    plate = sacral.slice_corners[2][:2]
    np.testing.assert_allclose(plate, [[121, 31], [121, 58]], atol=1.5)
    assert sacral.slice_corners[2][2:, 0].min() > 121 + 15


def test_a_body_at_the_upper_edge_is_partial() -> None:
    label = column()[:, 30:]
    top = vertebral_bodies(label, SPACING)[-1]
    assert top.partial


def test_a_disc_without_a_labelled_body_above_gives_a_cut_body() -> None:
    label = column()
    label[:, 20:46, 30:60] = 0  # the highest body has no label, its disc does
    bodies = vertebral_bodies(label, SPACING)
    assert [b.partial for b in bodies] == [False, False, False, True]
    np.testing.assert_allclose(bodies[-1].slice_corners[2][2:], [[46, 58], [46, 31]], atol=1.5)


@pytest.mark.parametrize("angle", [-30.0, 0.0, 30.0])
def test_corners_follow_the_direction_of_the_column(angle: float) -> None:
    turn = np.deg2rad(angle)
    up = np.array([-np.cos(turn), np.sin(turn)])
    back = np.array([np.sin(turn), np.cos(turn)])
    grid = np.stack(np.meshgrid(np.arange(100.0), np.arange(100.0), indexing="ij"), -1) - 50
    mask = (np.abs(grid @ up) <= 12) & (np.abs(grid @ back) <= 18)
    expected = (
        np.array([12 * up - 18 * back, 12 * up + 18 * back, -12 * up + 18 * back, -12 * up - 18 * back]) + 50
    )
    np.testing.assert_allclose(corners_of_mask(mask, up, (1.0, 1.0)), expected, atol=1.5)


def test_an_empty_label_has_no_bodies() -> None:
    assert vertebral_bodies(np.zeros((3, 50, 50), int), SPACING) == []


def test_a_slice_is_not_a_volume() -> None:
    with pytest.raises(ValueError, match=r"label must have 3 dimensions .*\(50, 50\)"):
        vertebral_bodies(np.zeros((50, 50), int), SPACING)

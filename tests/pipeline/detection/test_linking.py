"""Slices linked in mm, and the chain that is the column."""

from __future__ import annotations

import numpy as np
from toy.detection_oracle import column_corners

from siamed.pipeline.detection.decode import SliceBody
from siamed.pipeline.detection.linking import (
    LinkSettings,
    choose_column,
    link_slices,
    missing_between,
    plate_gap_mm,
)

SETTINGS = LinkSettings()


def bodies(corners: np.ndarray, score: float = 0.9) -> list[SliceBody]:
    return [SliceBody(c, score, 0.0, 0.0) for c in corners]


def test_one_track_a_body_over_all_slices() -> None:
    tracks = link_slices([bodies(column_corners())] * 7, (1.0, 1.0), 4.0, SETTINGS)
    assert len(tracks) == 5
    assert all(sorted(t.corners) == list(range(7)) for t in tracks)
    assert all(t.middle == 3 for t in tracks)


def test_a_tilted_column_is_followed_and_a_lost_slice_bridged() -> None:
    slices = [bodies(column_corners() + (0.0, 2.0 * d)) for d in range(7)]
    slices[3] = []
    tracks = link_slices(slices, (1.0, 1.0), 4.0, SETTINGS)
    assert len(tracks) == 5
    assert all(sorted(t.corners) == [0, 1, 2, 4, 5, 6] for t in tracks)


def test_distances_are_mm_not_pixels() -> None:
    far = [bodies(column_corners(1)), bodies(column_corners(1) + (0.0, 12.0))]
    assert len(link_slices(far, (1.0, 1.0), 4.0, SETTINGS)) == 2
    assert len(link_slices(far, (0.5, 0.5), 4.0, SETTINGS)) == 1


def test_a_body_behind_the_column_is_not_of_it() -> None:
    stray = column_corners(1, top=100.0, left=130.0)
    tracks = link_slices([bodies(np.concatenate([column_corners(), stray]))] * 5, (1.0, 1.0), 4.0, SETTINGS)
    chain = choose_column(tracks, SETTINGS)
    assert len(tracks) == 6
    assert [round(float(t.quad[0, 0])) for t in chain] == [30, 66, 102, 138, 174]
    assert all(t.quad[0, 1] == 60 for t in chain)


def test_a_missed_body_leaves_a_gap_that_is_seen() -> None:
    corners = np.delete(column_corners(), 2, axis=0)
    chain = choose_column(link_slices([bodies(corners)] * 5, (1.0, 1.0), 4.0, SETTINGS), SETTINGS)
    gaps = [missing_between(a, b, SETTINGS) for a, b in zip(chain[:-1], chain[1:], strict=True)]
    assert gaps == [0, 1, 0]
    assert plate_gap_mm(chain[0], chain[1]) == 10.0


def test_nothing_gives_an_empty_column() -> None:
    assert link_slices([[], []], (1.0, 1.0), 4.0, SETTINGS) == []
    assert choose_column([], SETTINGS) == []


def test_a_disc_seen_as_a_body_is_dropped_and_not_its_neighbors() -> None:
    disc = column_corners(1, top=56.0)  # between the first two bodies
    disc[0, 2:, 0] = 66.0
    slices = [[*bodies(column_corners()), *bodies(disc, score=0.4)]] * 5
    tracks = link_slices(slices, (1.0, 1.0), 4.0, SETTINGS)
    chain = choose_column(tracks, SETTINGS)
    assert len(tracks) == 6
    assert [round(float(t.quad[0, 0])) for t in chain] == [30, 66, 102, 138, 174]


def test_a_collapsed_body_keeps_its_place_between_its_discs() -> None:
    corners = column_corners()
    corners[2, :2, 0] += 18.0  # 8 mm high, under a disc that has taken the room
    chain = choose_column(link_slices([bodies(corners)] * 5, (1.0, 1.0), 4.0, SETTINGS), SETTINGS)
    assert len(chain) == 5


def test_bodies_that_overlap_are_no_neighbors() -> None:
    twice = column_corners(1, top=50.0)
    slices = [[*bodies(column_corners()), *bodies(twice, score=0.6)]] * 5
    chain = choose_column(link_slices(slices, (1.0, 1.0), 4.0, SETTINGS), SETTINGS)
    assert [round(float(t.quad[0, 0])) for t in chain] == [30, 66, 102, 138, 174]

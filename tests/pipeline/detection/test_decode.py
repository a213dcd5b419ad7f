"""Bodies read from maps."""

from __future__ import annotations

import numpy as np
import torch
from toy.detection_oracle import SACRAL, WHOLE, column_corners, maps_of

from siamed.pipeline.detection.decode import DecodeSettings, decode_slices

SIZE = (224, 160)


def test_corners_come_back_to_a_fraction_of_a_pixel() -> None:
    corners = column_corners() + 0.4
    bodies = decode_slices(maps_of(corners, [WHOLE] * 5, SIZE)[None], DecodeSettings())[0]
    assert len(bodies) == 5
    found = np.array(sorted((b.corners for b in bodies), key=lambda c: c[0, 0]))
    np.testing.assert_allclose(found, corners, atol=0.25)


def test_offsets_alone_place_a_corner_whose_heatmap_is_empty() -> None:
    output = maps_of(column_corners(1), [WHOLE], SIZE)
    output[3:7] = -9.0
    (body,) = decode_slices(output[None], DecodeSettings())[0]
    np.testing.assert_allclose(body.corners, column_corners(1)[0], atol=0.5)


def test_s1_is_told_apart() -> None:
    bodies = decode_slices(maps_of(column_corners(2), [WHOLE, SACRAL], SIZE)[None], DecodeSettings())[0]
    shares = sorted(b.sacral for b in bodies)
    assert shares[0] < 0.1 < 0.9 < shares[1]


def test_empty_maps_hold_no_bodies() -> None:
    assert decode_slices(torch.full((2, 19, 64, 64), -9.0), DecodeSettings()) == [[], []]


def test_two_peaks_of_one_body_count_once() -> None:
    corners = np.concatenate([column_corners(1), column_corners(1) + 3.0])
    bodies = decode_slices(maps_of(corners, [WHOLE, WHOLE], SIZE)[None], DecodeSettings())[0]
    assert len(bodies) == 1

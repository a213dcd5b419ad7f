"""Targets of the detector, checked at places worked out by hand."""

from __future__ import annotations

import numpy as np
import torch

from siamed.transforms.vertebra_targets import (
    OFFSET_UNIT_PX,
    PARTIAL,
    SACRAL,
    WHOLE,
    VertebraTargetsd,
    draw_targets,
)

QUAD = np.array([[20, 20], [20, 50], [44, 50], [44, 20]], float)


def draw(quad: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
    return draw_targets(quad[None], quad[None], np.array([kind]), (80, 80), 3.0, 2.0)


def test_a_whole_body_peaks_at_its_center_and_corners() -> None:
    targets, _ = draw(QUAD, WHOLE)
    assert targets[WHOLE, 32, 35] == 1
    assert targets[SACRAL].max() == 0
    for index, (row, column) in enumerate(QUAD.astype(int)):
        assert targets[3 + index, row, column] == 1


def test_offsets_point_from_a_pixel_to_the_corner() -> None:
    targets, weights = draw(QUAD, WHOLE)
    np.testing.assert_allclose(targets[7:9, 32, 35] * OFFSET_UNIT_PX, [-12, -15])
    np.testing.assert_allclose(targets[11:13, 33, 36] * OFFSET_UNIT_PX, [11, 14])
    assert weights[7, 32, 35] == 1
    assert weights[7, 70, 70] == 0


def test_s1_has_no_heatmap_at_its_guessed_corners() -> None:
    targets, _ = draw(QUAD, SACRAL)
    assert targets[SACRAL, 32, 35] == 1
    assert targets[3].max() == 1
    assert targets[5].max() == 0


def test_a_body_cut_by_the_view_is_partial_and_its_offsets_still_count() -> None:
    targets, weights = draw(QUAD - (30, 0), WHOLE)
    assert targets[WHOLE].max() == 0
    assert targets[PARTIAL].max() > 0.9
    assert weights[7].max() == 1


def test_a_body_cut_by_the_scan_says_nothing_of_its_upper_corners() -> None:
    targets, weights = draw(QUAD, PARTIAL)
    assert targets[3].max() == 0
    assert weights[7].max() == 0
    assert weights[8].max() == 1


def test_where_a_label_is_uncertain_nothing_is_learned() -> None:
    targets, weights = draw(QUAD, -1)
    assert targets[:7].max() == 0
    assert weights[:7, 32, 35].max() == 0
    assert weights[:7, 75, 75].min() == 1


def test_the_packed_label_has_the_layout_the_loss_reads() -> None:
    data = {
        "image": torch.zeros(1, 80, 80),
        "label": torch.full((1, 80, 80), 2.0),
        "corners": QUAD[None],
        "seen_corners": QUAD[None],
        "kinds": np.array([0]),
    }
    label = VertebraTargetsd(3.0, 2.0)(data)["label"]
    assert label.shape == (25, 80, 80)
    assert (label[24] == 2).all()

"""Planted defects lie where they are said to lie, and nowhere else."""

from __future__ import annotations

import numpy as np

from siamed.pipeline.phantoms.lesions import planted_lesions


def test_a_defect_is_dark_with_a_brighter_core_in_its_slice_above_the_disc() -> None:
    discs = planted_lesions(2, slices=3, seed=1)
    assert discs.volumes.shape[1:] == (3, 80, 160)
    there = np.flatnonzero(discs.label)
    assert 0 < len(there) < len(discs.label)
    assert np.isnan(discs.center[discs.label == 0]).all()
    for n in there:
        place, row, column = discs.center[n]
        assert row < 40  # the disc's middle
        plane = discs.volumes[n, int(place)]
        rows, columns = np.indices(plane.shape)
        away = np.hypot(rows - row, columns - column) / discs.radius_px[n]
        np.testing.assert_allclose(plane[away < 0.4], 0.3, atol=1e-6)
        np.testing.assert_allclose(plane[(away > 0.6) & (away < 0.8)], 0.12, atol=1e-6)
        for other in set(range(3)) - {int(place)}:
            assert np.abs(discs.volumes[n, other][away < 0.4] - 0.3).max() > 0.01


def test_the_same_seed_gives_the_same_discs_and_another_seed_others() -> None:
    one, same, other = (planted_lesions(1, slices=1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.volumes, same.volumes)
    np.testing.assert_array_equal(one.label, same.label)
    assert not np.array_equal(one.volumes[0], other.volumes[0])

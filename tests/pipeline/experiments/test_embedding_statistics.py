"""How embeddings lie, by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest
import torch

from siamed.pipeline.experiments.embedding_statistics import (
    alignment,
    effective_rank,
    embedding_spread,
    uniformity,
)


def test_the_spread_is_the_mean_of_the_entries_deviations() -> None:
    assert embedding_spread(np.array([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx((1 + 2) / 2)
    assert embedding_spread(np.ones((5, 3))) == 0.0


def test_the_effective_rank_counts_the_directions_used() -> None:
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], float)
    assert effective_rank(corners) == pytest.approx(2.0)
    assert effective_rank(np.outer(np.arange(5.0), [1, 2, 3])) == pytest.approx(1.0)
    assert effective_rank(np.ones((4, 3))) == 1.0


def test_a_cloud_that_is_alike_on_all_sides_has_the_rank_of_its_space() -> None:
    # The ends of all axes: the singular values are equal.
    assert effective_rank(np.concatenate([np.eye(7), -np.eye(7)])) == pytest.approx(7.0)


def test_the_rank_of_what_is_not_finite_is_not_a_number() -> None:
    assert np.isnan(effective_rank(np.array([[1.0, np.nan], [0.0, 1.0]])))


@pytest.mark.parametrize(
    ("second", "expected"),
    [([3.0, 0.0], 0.0), ([12.0, 0.0], 0.0), ([0.0, 5.0], 2.0), ([-1.0, 0.0], 4.0)],
    ids=["equal", "of another length", "perpendicular", "opposite"],
)
def test_alignment_is_the_squared_distance_of_directions(second: list[float], expected: float) -> None:
    assert alignment(np.array([[[3.0, 0.0], second]])) == pytest.approx(expected)


def test_alignment_is_a_mean_over_pairs() -> None:
    pairs = np.array([[[1, 0], [1, 0]], [[1, 0], [-1, 0]], [[0, 1], [1, 0]]], np.float32)
    assert alignment(pairs) == pytest.approx((0 + 4 + 2) / 3)


@pytest.mark.parametrize(
    ("embeddings", "expected"),
    [
        ([[2, 0], [7, 0], [1, 0]], 0.0),
        ([[1, 0], [-1, 0]], -8.0),
        # Of the six pairs of a square's corners four are neighbors at 2, two opposite at 4.
        ([[1, 0], [-1, 0], [0, 1], [0, -3]], log((4 * exp(-4) + 2 * exp(-8)) / 6)),
        ([[0, 0], [1, 0]], -2.0),
        ([[0, 0], [0, 0]], 0.0),
    ],
    ids=["one direction", "opposite points", "a square", "one without direction", "none with direction"],
)
def test_uniformity_by_hand(embeddings: list[list[float]], expected: float) -> None:
    assert uniformity(np.array(embeddings, np.float32)) == pytest.approx(expected, abs=1e-12)


def test_uniformity_of_many_is_that_of_all_pairs_at_once() -> None:
    embeddings = np.random.default_rng(0).normal(size=(600, 5))
    unit = torch.nn.functional.normalize(torch.from_numpy(embeddings))
    expected = torch.pdist(unit).pow(2).mul(-2).exp().mean().log()
    assert uniformity(embeddings) == pytest.approx(float(expected), rel=1e-9)


def test_uniformity_of_a_single_one_is_not_a_number() -> None:
    assert np.isnan(uniformity(np.ones((1, 3))))


@pytest.mark.parametrize("measure", [embedding_spread, effective_rank, uniformity])
@pytest.mark.parametrize("shape", [(0, 3), (4,), (4, 2, 3)])
def test_embeddings_of_another_shape_are_refused(
    measure: Callable[[np.ndarray], float], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \(N, E\)"):
        measure(np.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 3), (4, 3, 3)])
def test_pairs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pairs must be \(N, 2, E\)"):
        alignment(np.zeros(shape))

"""Same-person metrics by hand, and what the evaluator makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from siamed.pipeline.pairs.metrics import (
    METRICS,
    GivenPairMetric,
    SamePersonMetric,
    compare_columns,
    compare_volumes,
    distance_matrix,
    given_pair_metrics,
    pair_metrics,
)

LEVELS = np.array([0, 0, 1, 1])
PERSONS = np.array([5, 6, 5, 6])


def line(first: list[float], second: list[float]) -> np.ndarray:
    """Embeddings on a line ``(N, 2, 1)``."""
    return np.array([first, second], np.float32).T[:, :, None]


def test_only_volumes_of_one_level_are_compared() -> None:
    embeddings = line([0, 10, 0, 10], [1, 12, 3, 9])
    compared = compare_volumes(distance_matrix(embeddings), LEVELS, PERSONS)
    found = sorted(zip(compared.distance.tolist(), compared.same.tolist(), strict=True))
    # Level 0: 5-5 at 1, 5-6 at 12, 6-5 at 9, 6-6 at 2. Level 1: 5-5 at 3, 5-6 at 9, 6-5 at 7, 6-6 at 1.
    assert found == [
        (1, True),
        (1, True),
        (2, True),
        (3, True),
        (7, False),
        (9, False),
        (9, False),
        (12, False),
    ]
    assert compared.auc == 1.0


def test_the_auc_counts_pairs_in_the_wrong_order() -> None:
    embeddings = line([0, 3], [4, 2])
    compared = compare_volumes(distance_matrix(embeddings), np.zeros(2), np.array([1, 2]))
    assert sorted(compared.distance[compared.same].tolist()) == [1, 4]
    assert sorted(compared.distance[~compared.same].tolist()) == [1, 2]
    # Of four comparisons one is right (1 < 2), one is a tie (1 = 1) and two are wrong.
    assert compared.auc == pytest.approx((1 + 0.5) / 4)


def test_columns_are_the_mean_over_the_levels_that_both_show() -> None:
    levels, persons = np.array([0, 0, 1, 1, 2]), np.array(["a", "b", "a", "b", "a"])
    embeddings = line([0, 10, 0, 10, 0], [1, 12, 3, 9, 100])
    compared = compare_columns(distance_matrix(embeddings), levels, persons, least=2)
    found = {(f, s): d for f, s, d in zip(compared.first, compared.second, compared.distance, strict=True)}
    expected = {
        ("a", "a"): (1 + 3 + 100) / 3,
        ("a", "b"): (12 + 9) / 2,
        ("b", "a"): (9 + 7) / 2,
        ("b", "b"): 1.5,
    }
    assert found == pytest.approx(expected)
    assert len(compare_columns(distance_matrix(embeddings), levels, persons, least=3).same) == 1
    assert np.isnan(compare_columns(distance_matrix(embeddings), levels, persons, least=3).auc)


def test_collapse_shows() -> None:
    scores = np.zeros((4, 2, 3))
    scores[:, 0, 1] = 1  # the first volumes are all called level 1, the second ones level 0
    figures = pair_metrics(np.ones((4, 2, 5), np.float32), scores, LEVELS, PERSONS)
    assert figures["embedding_spread"] == 0.0
    assert figures["effective_rank"] == 1.0
    assert figures["same_person_auc"] == 0.5
    assert figures["level_accuracy"] == 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_the_evaluators_metric_is_that_of_all_batches_together(metric: str) -> None:
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.normal(size=(8, 2, 6)).astype(np.float32))
    levels, persons = np.repeat([0, 1], 4), np.tile([1, 2, 3, 4], 2)
    label = torch.from_numpy(np.stack([np.ones(8, int), levels, persons, persons], 1))
    engine = Engine(lambda _, part: [{"pred": output[i], "label": label[i]} for i in part])
    SamePersonMetric(4, metric).attach(engine, "figure")
    engine.run([range(5), range(5, 8)])
    expected = pair_metrics(output[..., :4].numpy(), output[..., 4:].numpy(), levels, persons)[metric]
    assert engine.state.metrics["figure"] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be one of"):
        SamePersonMetric(4, "accuracy")


def test_given_pairs_by_hand() -> None:
    # Distances 1, 4, 2, 6: the two positives at 1 and 4, the negatives at 2 and 6.
    embeddings = line([0, 0, 0, 0], [1, 4, 2, 6])
    found = given_pair_metrics(embeddings, np.array([True, True, False, False]), 3.0)
    assert found["pair_auc"] == pytest.approx(3 / 4)  # of four comparisons the one of 4 with 2 is wrong
    assert found["pair_accuracy"] == pytest.approx(2 / 4)  # 1 and 6 are told rightly at 3
    assert found["embedding_spread"] == pytest.approx(float(np.std([0, 1, 0, 4, 0, 2, 0, 6])))
    assert found["effective_rank"] == pytest.approx(1.0)


def test_given_pairs_through_an_evaluator_batch_by_batch() -> None:
    embeddings = torch.from_numpy(line([0, 0, 0, 0], [1, 4, 2, 6]))
    labels = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])

    def step(_: Engine, batch: slice) -> list[dict[str, torch.Tensor]]:
        parts = zip(embeddings[batch], labels[batch], strict=True)
        return [{"pred": pred, "label": label} for pred, label in parts]

    engine = Engine(step)
    for name in ("pair_auc", "pair_accuracy"):
        GivenPairMetric(name, 3.0).attach(engine, name)
    engine.run([slice(0, 3), slice(3, 4)])
    assert engine.state.metrics["pair_auc"] == pytest.approx(0.75)
    assert engine.state.metrics["pair_accuracy"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"metric must be one of .*, got 'column_auc'"):
        GivenPairMetric("column_auc", 1.0)

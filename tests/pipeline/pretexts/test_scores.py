"""How well a task is solved, each score from numbers that a reader can check."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine

from siamed.pipeline.pretexts.scores import (
    Accuracy,
    OffsetExplained,
    PixelsExplained,
    PretextMetric,
    RegionRetrieval,
    Retrieval,
    Score,
    heatmap_offset,
)
from siamed.transforms.rand_offset_patches import gaussian_heatmap, heatmap_center

NO_LABEL = torch.zeros(0)


def figures(score: Score, pred: torch.Tensor, label: torch.Tensor = NO_LABEL) -> tuple[float, float]:
    """Score and chance of one batch."""
    rows = score.rows(pred, label)
    return float(score.score(rows)), float(score.chance(rows))


# --- classes ---------------------------------------------------------------------------------------------


def test_three_of_four_classes_named_rightly() -> None:
    pred = torch.tensor([[0.1, 0.9, 0.0], [2.0, 1.0, 0.0], [0.0, 0.1, 0.2], [5.0, 6.0, 7.0]])
    assert figures(Accuracy(), pred, torch.tensor([1, 0, 2, 1])) == pytest.approx((0.75, 1 / 3))


# --- pixels ----------------------------------------------------------------------------------------------

IMAGE = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
LOWER = torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]])


def test_half_of_a_half_by_hand() -> None:
    # Left to see are 1 and 3: the constant answer is 2, wrong by 3 and 5, where 5 and 6 are wrong by 0 and 1.
    pred = torch.tensor([[[[0.0, 0.0], [5.0, 6.0]]]])
    assert figures(PixelsExplained(), pred, torch.cat([IMAGE, LOWER], 1)) == (1 - 1 / 8, 0)


@pytest.mark.parametrize("where", ["lower", "everywhere", "no mask"])
def test_perfect_is_1_and_the_constant_answer_exactly_0(where: str) -> None:
    mask = {"lower": LOWER, "everywhere": torch.ones_like(LOWER), "no mask": LOWER[:, :0]}[where]
    label = torch.cat([IMAGE, mask], 1)
    mean = 2.0 if where == "lower" else 4.0  # where nothing is left to see, the mean of all
    assert figures(PixelsExplained(), IMAGE, label) == (1, 0)
    assert figures(PixelsExplained(), torch.full_like(IMAGE, mean), label) == (0, 0)
    assert figures(PixelsExplained(), torch.full_like(IMAGE, -9.0), label)[0] < 0


def test_hidden_pixels_alone_count() -> None:
    generator = torch.Generator().manual_seed(0)
    image, pred = torch.rand(3, 2, 6, 6, generator=generator), torch.rand(3, 2, 6, 6, generator=generator)
    mask = (torch.rand(3, 1, 6, 6, generator=generator) < 0.3).float()
    label, other = torch.cat([image, mask], 1), torch.where(mask.bool(), pred, torch.tensor(99.0))
    assert figures(PixelsExplained(), pred, label) == figures(PixelsExplained(), other, label)


def test_each_channel_of_each_item_has_its_own_constant_answer() -> None:
    flat = torch.tensor([0.0, 10.0, 20.0, 30.0]).view(2, 2, 1, 1)
    image = flat + torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)
    rows = PixelsExplained().rows(image, image)
    assert rows.tolist() == [[0, 4], [0, 4]]  # two channels of two pixels, each 1 from its own mean


# --- offsets ---------------------------------------------------------------------------------------------


def test_the_peak_of_a_heatmap_by_hand() -> None:
    heatmap = torch.zeros(3, 1, 5, 7)
    for item, (row, column) in enumerate([(2, 3), (0, 6), (1, 3)]):
        heatmap[item, 0, row, column] = 1
    assert heatmap_offset(heatmap).tolist() == [[0, 0], [-1, 1], [-0.5, 0]]


def test_the_peak_is_where_the_target_puts_the_offset() -> None:
    size = (17, 17)
    for offset in ((0, 0), (16, -16), (-4, 10)):
        heatmap = gaussian_heatmap(heatmap_center(offset, 16, size), size, 1.5)
        assert heatmap_offset(heatmap[None])[0].tolist() == pytest.approx([o / 16 for o in offset])


def test_distances_by_hand_over_all_items() -> None:
    label = torch.tensor([[0.3, 0.4], [0.0, -0.5]])
    pred = torch.tensor(
        [[0.3, 0.0], [0.0, -0.4]]
    )  # wrong by 0.4 and 0.1, where no offset is wrong by 0.5 each
    assert figures(OffsetExplained(), pred, label) == pytest.approx((0.5, 0))
    assert figures(OffsetExplained(), label, label) == (1, 0)
    assert figures(OffsetExplained(), torch.zeros(2, 2), label) == (0, 0)


def test_heatmaps_are_scored_by_their_peaks() -> None:
    label, pred = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    label[0, 0, 0, 2], pred[0, 0, 1, 2] = 1, 0.2  # offsets -1 and -0.5 along the rows
    assert figures(OffsetExplained(), pred, label) == (0.5, 0)


# --- views -----------------------------------------------------------------------------------------------


def test_a_view_looks_for_its_partner_among_all_others() -> None:
    # By angle: 0 and 10 degrees are partners, as are 90 and 40; the nearest of 40 is 10, not 90.
    angle = torch.deg2rad(torch.tensor([[0.0, 10.0], [90.0, 40.0]]))
    pred = torch.stack([angle.cos(), angle.sin()], 2)
    assert figures(Retrieval(), pred) == pytest.approx((3 / 4, 1 / 3))
    lengths = torch.tensor([[1.0, 9.0], [0.1, 5.0]])[..., None]
    assert figures(Retrieval(), lengths * pred) == pytest.approx((3 / 4, 1 / 3))  # lengths do not count


@pytest.mark.parametrize("images", [1, 2, 5])
def test_chance_is_one_of_the_other_views(images: int) -> None:
    own = torch.eye(images)[:, None].expand(images, 2, images)
    assert figures(Retrieval(), own) == pytest.approx((1, 1 / (2 * images - 1)))
    if images > 1:
        assert figures(Retrieval(), torch.stack([own[:, 0], own[:, 1].roll(1, 0)], 1))[0] == 0


@pytest.mark.parametrize("regions", [(2, 3), (2, 1, 3)])
def test_a_region_looks_for_itself_in_the_other_view(regions: tuple[int, ...]) -> None:
    # Each of 6 regions is 2 pixels wide along all axes, and has a direction of its own.
    view = torch.eye(6).view(6, *regions)
    for axis in range(len(regions)):
        view = view.repeat_interleave(2, axis + 1)
    same = torch.stack([view, view])[None]
    moved = torch.stack([view, view.roll(2, -1)])[None]
    assert figures(RegionRetrieval(regions), same) == pytest.approx((1, 1 / 6))
    assert figures(RegionRetrieval(regions), moved) == pytest.approx((0, 1 / 6))
    half = torch.cat([same, moved])
    assert figures(RegionRetrieval(regions), half) == pytest.approx((1 / 2, 1 / 6))


# --- as a metric -----------------------------------------------------------------------------------------


def test_a_metric_counts_items_and_not_batches() -> None:
    batches = [
        {"pred": torch.eye(2)[[0, 0, 0, 1]], "label": torch.tensor([0, 0, 0, 0])},  # three of four
        {"pred": torch.eye(2)[[1]], "label": torch.tensor([0])},  # none of one
    ]
    engine = Engine(lambda _, batch: batch)
    PretextMetric(Accuracy()).attach(engine, "score")
    PretextMetric(Accuracy(), "chance").attach(engine, "chance")
    for _ in range(2):  # the second run begins anew
        engine.run(batches)
        assert float(engine.state.metrics["score"]) == pytest.approx(3 / 5)
        assert float(engine.state.metrics["chance"]) == pytest.approx(1 / 2)


def test_errors_are_added_up_before_they_are_compared() -> None:
    # Explained: 1 of 1, and 0 of 3; their mean would be a half.
    batches = [
        {"pred": torch.tensor([[1.0, 0.0]]), "label": torch.tensor([[1.0, 0.0]])},
        {"pred": torch.tensor([[0.0, 0.0]]), "label": torch.tensor([[0.0, 3.0]])},
    ]
    engine = Engine(lambda _, batch: batch)
    PretextMetric(OffsetExplained()).attach(engine, "score")
    engine.run(batches)
    assert float(engine.state.metrics["score"]) == pytest.approx(1 / 4)


def test_another_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="what must be 'score' or 'chance', got 'loss'"):
        PretextMetric(Accuracy(), "loss")

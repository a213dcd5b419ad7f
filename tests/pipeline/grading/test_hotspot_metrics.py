"""Measures of maps: right for maps whose worth is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.hotspot_metrics import (
    deletion_and_insertion,
    hotspot_mapper,
    knowing_nothing,
    peak_in_region,
    randomized_weights,
    stock_mapper,
)

FIELD, SIZE = (40, 80), (3, 56, 112)


class Bright(nn.Module):
    """A disc bulges where something bright is in view."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        bright = (volume - 0.7).clamp(min=0).flatten(1).sum(1)
        return torch.stack([torch.full_like(bright, 4.0), bright], 1)


def spot() -> torch.Tensor:
    disc = torch.full((1, 1, *SIZE), 0.4)
    disc[0, 0, 1, 20:26, 70:78] = 1.0
    return disc


def vgg(slices: int = 1) -> DiscGrader:
    """A network whose grades depend on the left third of the picture alone."""
    torch.manual_seed(0)
    network = MultiTaskVGGM([2, 2], slices, FIELD, 0.1, 8, 0.0, batch_norm=True, conv2_stride=1)
    with torch.no_grad():
        for branch in network.branches:
            branch[2].weight.view(8, network.trunk.channels, 2, 5)[..., 2:] = 0
    return DiscGrader(network, ["narrowing", "bulging"], slices, FIELD, FIELD)


def test_a_maximum_in_the_region_is_a_hit() -> None:
    maps = torch.zeros(2, 1, *SIZE)
    maps[0, 0, 1, 5, 6] = maps[1, 0, 2, 5, 6] = 1.0
    region = torch.zeros(2, *SIZE, dtype=torch.bool)
    region[:, 1, 4:8, 4:8] = True
    assert peak_in_region(maps, region)[:, 0].tolist() == [True, False]


def test_evidence_that_is_taken_first_costs_most_and_brings_most() -> None:
    grader = DiscGrader(Bright(), ["bulging"], 1, FIELD, FIELD)
    right = spot()[:, :, None, 1] * torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    grades = [{"bulging": 1}]
    best, worst = (deletion_and_insertion(grader, spot(), grades, maps) for maps in (right, -right))
    assert best[0].item() < 0.1  # gone with the first pixels
    assert best[1].item() > 0.9
    assert worst[0].item() > 0.7
    assert worst[1].item() < 0.3


@pytest.mark.parametrize("slices", [1, 3])
def test_new_weights_change_the_maps_more_than_other_views_do(slices: int) -> None:
    grader = vgg(slices)
    before = {name: value.clone() for name, value in grader.network.state_dict().items()}
    ranges = {"angle_deg": 10.0, "shift_x_px": 8.0}
    found = randomized_weights(grader, ranges, torch.rand(2, 1, *SIZE), samples=4)
    assert list(found) == ["none, but other views", "FC8", "FC8 to FC6", "FC8 to Conv4", "all"]
    assert found["none, but other views"] > found["all"] + 0.1
    assert all(torch.equal(before[name], value) for name, value in grader.network.state_dict().items())


def test_stock_methods_draw_on_the_same_grid_with_the_most_evidence_largest() -> None:
    grader, volumes = vgg(), torch.rand(2, 1, *SIZE)
    grades = [{"narrowing": 0, "bulging": 1}] * 2
    for mapper in (stock_mapper(grader, "GradCAM"), stock_mapper(grader, "SmoothGrad", 2)):
        maps = mapper(volumes, grades)
        assert maps.shape == hotspot_mapper(grader, {}, 1)(volumes, grades).shape == (2, 2, *SIZE)
        assert bool(maps.isfinite().all())
        assert float(maps[:, :, [0, 2]].abs().max()) == 0.0  # the network sees the middle slice
        assert float(maps.min()) >= 0.0


def test_gradcam_is_largest_where_conv5_speaks_for_the_grade() -> None:
    class OneCell(nn.Module):
        """Trunk: a mean over 8 x 8 pixels; the branch counts what its cells hold."""

        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Module()
            self.trunk.layers = nn.Sequential(nn.Conv2d(1, 1, 8, 8, bias=False))
            nn.init.constant_(self.trunk.layers[0].weight, 1 / 64)

        def forward(self, volume: torch.Tensor) -> torch.Tensor:
            held = self.trunk.layers(volume[:, 0]).square().flatten(1).sum(1)
            return torch.stack([-held, held], 1)

    grader = DiscGrader(OneCell(), ["bulging"], 1, FIELD, FIELD)
    maps = stock_mapper(grader, "GradCAM")(spot(), [{"bulging": 1}])
    row, column = divmod(int(maps[0, 0, 1].argmax()), SIZE[2])
    assert abs(row - 22.5) <= 5
    assert abs(column - 73.5) <= 5


def test_maps_that_know_nothing_stay_in_the_slices_that_are_seen() -> None:
    grader, volumes = vgg(), torch.rand(1, 1, *SIZE)
    middle = knowing_nothing(grader, "middle")(volumes, [])
    assert divmod(int(middle[0, 0, 1].argmax()), SIZE[2]) in {(r, c) for r in (27, 28) for c in (55, 56)}
    for maps in (middle, knowing_nothing(grader, "random")(volumes, [])):
        assert float(maps[:, :, [0, 2]].abs().max()) == 0.0
        assert float(maps[:, :, 1].min()) >= 0.0

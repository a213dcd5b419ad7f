"""SpineNet's 54 looks: which they are, that each is averaged, and how the dense pass differs."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.averaging import dense_probabilities, paper_views

SIZE = (5, 144, 256)  # 112 x 224 and 16 pixels around, and a slice on each side of three


def vgg(slices: int = 3, **changes: object) -> DiscGrader:
    torch.manual_seed(0)
    options = {"batch_norm": False, "conv2_stride": 1, "pool5": True, **changes}
    network = MultiTaskVGGM([5, 2], slices, (56, 112), 0.1, 8, 0.0, **options)
    with torch.no_grad():
        for module in network.modules():  # answers that are not all alike
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(2.5)
    return DiscGrader(network, ["pfirrmann", "bulging"], slices, (112, 224), (56, 112))


def test_there_are_54_and_each_is_another() -> None:
    views = paper_views()
    assert len(views) == len(set(views)) == 54
    assert Counter(view[3] for view in views) == {-1: 18, 0: 18, 1: 18}
    assert Counter(view[4] for view in views) == {False: 27, True: 27}
    assert {view[1:3] for view in views} == {(y, x) for y in (-16, 0, 16) for x in (-16, 0, 16)}


class Seen(nn.Module):
    """Remembers what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        self.seen.append(volume[0, 0])
        return torch.zeros(len(volume), 2)


def test_windows_move_and_reflections_reverse_whole_slices() -> None:
    volumes = torch.arange(5.0)[None, None, :, None, None].expand(1, 1, *SIZE)
    network = Seen()
    DiscGrader(network, ["bulging"], 3, (112, 224), (56, 112), paper_views()).probabilities(volumes)
    shown = Counter(tuple(int(v) for v in seen[:, 28, 56]) for seen in network.seen)
    assert shown == dict.fromkeys([(0, 1, 2), (2, 1, 0), (1, 2, 3), (3, 2, 1), (2, 3, 4), (4, 3, 2)], 9)
    with pytest.raises(ValueError, match="must have 5 slices for a window moved by -1, got 3"):
        DiscGrader(network, ["bulging"], 3, (112, 224), (56, 112), paper_views()).probabilities(
            volumes[:, :, :3]
        )


@pytest.mark.parametrize("conv2_stride", [1, 2])
def test_a_dense_pass_without_borders_equals_the_looks_one_by_one(conv2_stride: int) -> None:
    # Zeros around the middle, no bias, and beyond Conv1 kernels that see no neighbor: borders see nothing.
    grader = vgg(conv2_stride=conv2_stride)
    convolutions = [m for m in grader.network.trunk.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for module in convolutions:
            module.bias.zero_()
        for module in convolutions[1:]:
            middle = module.kernel_size[0] // 2
            kept = module.weight[:, :, middle, middle].abs()
            module.weight.zero_()[:, :, middle, middle] = kept
    volumes = torch.zeros(2, 1, 5, 112 + 4 * 32, 224 + 4 * 32)
    volumes[:, :, :, 100:140, 150:202] = torch.rand(2, 1, 5, 40, 52)
    shift = 16 * conv2_stride
    exact = grader.with_views(paper_views(shift)).probabilities(volumes)
    for one, other in zip(dense_probabilities(grader, volumes), exact, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert float((exact[0][0] - exact[0][1]).abs().max()) > 1e-3


def test_a_dense_pass_sees_what_lies_beyond_a_border() -> None:
    grader, volumes = vgg(), torch.rand(2, 1, *SIZE)
    exact = grader.with_views(paper_views()).probabilities(volumes)
    dense = dense_probabilities(grader, volumes)
    for one, other in zip(dense, exact, strict=True):
        torch.testing.assert_close(one.sum(1), torch.ones(2))
        assert 0 < float((one - other).abs().max()) < 0.2


def test_one_slice_has_no_reflection() -> None:
    grader, volumes = vgg(slices=1), torch.rand(1, 1, 3, 144, 256)
    both = dense_probabilities(grader, volumes)
    alone = dense_probabilities(grader, volumes, reflected=(False,))
    assert all(torch.equal(one, other) for one, other in zip(both, alone, strict=True))


def test_a_volume_without_margin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of \(144, 256\) pixels, got \(1, 1, 5, 112, 224\)"):
        dense_probabilities(vgg(), torch.zeros(1, 1, 5, 112, 224))

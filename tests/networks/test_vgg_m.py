"""VGG-M with branches: the paper's sizes, slices as channels, arguments named when wrong."""

from __future__ import annotations

import pytest
import torch

from siamed.networks.vgg_m import BRANCH_POINTS, MultiTaskVGGM, VGGMTrunk

CLASSES = [5, 2, 4]


def small(**changes) -> MultiTaskVGGM:
    arguments = {"slices": 1, "spatial_size": (56, 112), "width": 0.05, "hidden": 16, "dropout": 0.3}
    torch.manual_seed(0)
    return MultiTaskVGGM(CLASSES, **{**arguments, "batch_norm": True, "conv2_stride": 1, **changes})


def test_the_trunk_has_the_papers_convolutions() -> None:
    trunk = VGGMTrunk(slices=9, width=1.0, batch_norm=False)
    shapes = [tuple(m.weight.shape) for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    # 7x7x9 over all slices, then 5x5 and three of 3x3, with 96, 256, 512, 512, 512 filters.
    expected = [(96, 9, 7, 7), (256, 96, 5, 5), (512, 256, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3)]
    assert shapes == expected
    assert all(m.bias is not None for m in trunk.modules() if isinstance(m, torch.nn.Conv2d))


def test_the_papers_disc_volume_shrinks_to_seven_by_fourteen() -> None:
    trunk = VGGMTrunk(slices=9, width=0.05, batch_norm=False)
    # 112 x 224: halved by Conv1, pooling, Conv2 and pooling.
    assert tuple(trunk(torch.zeros(2, 1, 9, 112, 224)).shape) == (2, trunk.channels, 7, 14)


@pytest.mark.parametrize(("slices", "size"), [(1, (56, 112)), (9, (112, 224)), (3, (64, 64))])
def test_scores_of_all_tasks_lie_side_by_side(slices: int, size: tuple[int, int]) -> None:
    network = small(slices=slices, spatial_size=size).eval()
    scores = network(torch.rand(3, 1, slices, *size))
    assert tuple(scores.shape) == (3, 11)
    assert [tuple(part.shape) for part in network.split(scores)] == [(3, 5), (3, 2), (3, 4)]


def test_a_tasks_branch_moves_no_other_tasks_scores() -> None:
    network = small().eval()
    volume = torch.rand(2, 1, 1, 56, 112)
    before = network.split(network(volume))
    with torch.no_grad():
        network.branches[1][-1].bias += 1.0
    after = network.split(network(volume))
    torch.testing.assert_close(after[1], before[1] + 1.0)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])


def test_every_slice_reaches_the_scores() -> None:
    network = small(slices=3).eval()
    volume = torch.rand(1, 1, 3, 56, 112, requires_grad=True)
    network(volume).sum().backward()
    assert volume.grad is not None
    assert (volume.grad[0, 0].flatten(1).abs().sum(1) > 0).all()


def test_a_disc_is_graded_alike_alone_and_in_a_batch() -> None:
    network = small().eval()
    volume = torch.rand(4, 1, 1, 56, 112)
    torch.testing.assert_close(network(volume)[2:3], network(volume[2:3]), rtol=1e-4, atol=1e-5)


def test_making_a_network_leaves_its_running_statistics_untouched() -> None:
    norms = [m for m in small().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 5
    assert all(norm.training and int(norm.num_batches_tracked) == 0 for norm in norms)


@pytest.mark.parametrize("volumetric", [False, True])
@pytest.mark.parametrize(("point", "shared"), BRANCH_POINTS.items())
def test_what_comes_after_the_branch_point_each_task_has_for_itself(
    point: str, shared: int, volumetric: bool
) -> None:
    network = small(branch_point=point, slices=3, volumetric=volumetric).eval()
    volume = torch.rand(1, 1, 3, 56, 112)
    kinds = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
    # Conv1 to Conv5, FC6, FC7 and FC8: shared ones once, the others once a task.
    assert len(layers) == shared + len(CLASSES) * (8 - shared)
    scores = network.split(network(volume))
    moved = {}
    for name, layer in layers.items():
        gradients = [
            torch.autograd.grad(part.sum(), layer.weight, retain_graph=True, allow_unused=True)[0]
            for part in scores
        ]
        moved[name] = [t for t, g in enumerate(gradients) if g is not None and bool(g.any())]
    assert sum(touched == [0, 1, 2] for touched in moved.values()) == shared
    assert [touched for touched in moved.values() if len(touched) == 1] == (
        [[task] for task in range(3) for _ in range(max(0, 5 - shared))]
        + [[task] for task in range(3) for _ in range(8 - max(5, shared))]
    )


@pytest.mark.parametrize("point", BRANCH_POINTS)
def test_shifted_parts_are_graded_alike_wherever_the_tasks_branch(point: str) -> None:
    network = small(branch_point=point).eval()
    field = torch.rand(2, 1, 1, 56 + 2 * network.stride, 112 + 2 * network.stride)
    # Of one size with the volume there is one part: the volume itself.
    whole = network.shifted_scores(field[..., :56, :112])
    torch.testing.assert_close(whole[:, 0], network(field[..., :56, :112]))
    assert tuple(network.shifted_scores(field).shape) == (2, 9, 11)


@pytest.mark.parametrize("point", ["none", "conv5", "fc7"])
def test_it_can_be_scripted(point: str) -> None:
    network = small(branch_point=point).eval()
    volume = torch.rand(2, 1, 1, 56, 112)
    torch.testing.assert_close(torch.jit.script(network)(volume), network(volume))


def test_the_mean_is_taken_from_each_slice_and_kept_with_the_weights() -> None:
    network, plain = small(slices=3, subtract_mean=True).eval(), small(slices=3).eval()
    volume, mean = torch.rand(2, 1, 3, 56, 112), torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(network(volume), plain(volume))  # 0 until it is set
    network.mean.copy_(mean)
    torch.testing.assert_close(network(volume), plain(volume - mean.view(1, 1, 3, 1, 1)))
    assert set(network.state_dict()) - set(plain.state_dict()) == {"mean"}
    again = small(slices=3, subtract_mean=True).eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(volume), network(volume))


def test_glorots_weights_have_his_spread_and_no_biases() -> None:
    layer = small(glorot=True, hidden=[64, 48], batch_norm=False).branches[0][5]
    assert tuple(layer.weight.shape) == (48, 64)
    bound = (6 / (64 + 48)) ** 0.5  # [glorot2010, Eq. 16]
    assert 0.95 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert not layer.bias.any()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="hidden must be one width or two, .* got \\[1, 2, 3\\]"):
        small(hidden=[1, 2, 3])
    with pytest.raises(ValueError, match="slices must be at least 1, got 0"):
        VGGMTrunk(slices=0, width=1.0, batch_norm=False)
    with pytest.raises(ValueError, match=r"width must be in \(0, 4\], got 0"):
        VGGMTrunk(slices=1, width=0, batch_norm=False)
    with pytest.raises(ValueError, match="classes must hold 2 or more"):
        MultiTaskVGGM([5, 1], 1, (56, 112), 0.05, 16, 0.3, True)
    with pytest.raises(ValueError, match="branch_point must be one of .*, got 'conv2'"):
        small(branch_point="conv2")
    with pytest.raises(ValueError, match=r"volume must be \(B, 1, 1, H, W\), got \[2, 1, 9, 56, 112\]"):
        small()(torch.zeros(2, 1, 9, 56, 112))

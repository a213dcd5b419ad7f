"""The U-Net whose parts can be handed on, and the networks of the self-supervised tasks on top of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from siamed.networks.pretext_net import (
    EmbeddingHead,
    EmbeddingMapHead,
    HeatmapHead,
    PixelHead,
    PretextNet,
    VectorHead,
)
from siamed.networks.unet import UNet, UNetDecoder, UNetEncoder

FEATURES = (8, 16, 24)


def encoder(spatial_dims: int = 2, in_channels: int = 1) -> UNetEncoder:
    return UNetEncoder(spatial_dims, in_channels, FEATURES, 8)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_each_level_has_its_channels_at_half_the_size(spatial_dims: int) -> None:
    found = encoder(spatial_dims)(torch.zeros(2, 1, *[16] * spatial_dims))
    assert [tuple(one.shape) for one in found] == [
        (2, channels, *[16 // 2**level] * spatial_dims) for level, channels in enumerate(FEATURES)
    ]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("skips", [True, False])
def test_a_value_for_each_pixel(spatial_dims: int, skips: bool) -> None:
    network = UNet(spatial_dims, 1, 3, FEATURES, 8, skips)
    assert network(torch.rand(1, 1, *[24] * spatial_dims)).shape == (1, 3, *[24] * spatial_dims)


def test_without_skips_nothing_but_the_bottom_is_seen() -> None:
    torch.manual_seed(0)
    for skips in (True, False):
        decoder = UNetDecoder(2, FEATURES, 8, skips)
        found = [one.requires_grad_() for one in encoder()(torch.rand(1, 1, 16, 16))]
        leaves = [one.detach().requires_grad_() for one in found]
        decoder(leaves).sum().backward()
        used = [leaf.grad is not None and bool(leaf.grad.any()) for leaf in leaves]
        assert used == [skips, skips, True]


def test_one_image_alone_gives_what_it_gives_in_a_batch() -> None:
    network = UNet(2, 1, 1, FEATURES, 8).train()
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


def test_a_frozen_encoder_learns_nothing() -> None:
    network = UNet(2, 1, 1, FEATURES, 8)
    network.trunk.freeze()
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    assert all(p.grad is None for p in network.trunk.parameters())
    assert all(p.grad is not None for p in network.decoder.parameters())


HEADS: dict[str, tuple[Any, bool, int, tuple[int, ...]]] = {
    "classes": (VectorHead(24, 2, 16, 6), False, 2, (3, 6)),
    "heatmap": (HeatmapHead(24, 2, 16, (9, 11)), False, 2, (3, 1, 9, 11)),
    "pixels": (PixelHead(2, 8, 1), True, 1, (3, 1, 16, 16)),
    "embeddings": (EmbeddingHead(24, 16, 5), False, 2, (3, 2, 5)),
    "embedding maps": (EmbeddingMapHead(2, 8, 5), True, 2, (3, 2, 5, 16, 16)),
}


@pytest.mark.parametrize("name", HEADS)
def test_each_head_gives_its_shape_and_a_gradient_to_the_trunk(name: str) -> None:
    head, decodes, members, shape = HEADS[name]
    network = PretextNet(encoder(), head, UNetDecoder(2, FEATURES, 8) if decodes else None, members)
    output = network(torch.rand(3, members, 16, 16))
    assert tuple(output.shape) == shape
    output.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.trunk.first.parameters())


def test_members_go_through_one_trunk_and_stay_in_their_order() -> None:
    network = PretextNet(encoder(), EmbeddingHead(24, 16, 5), members=2).eval()
    first, second = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    both = network(torch.cat([first, second], 1))
    swapped = network(torch.cat([second, first], 1))
    torch.testing.assert_close(both, swapped.flip(1))


def test_a_pretrained_trunk_and_decoder_fit_a_segmenting_network() -> None:
    pretext = PretextNet(encoder(), PixelHead(2, 8, 1), UNetDecoder(2, FEATURES, 8))
    network = UNet(2, 1, 4, FEATURES, 8)
    for part in ("trunk", "decoder"):
        network.get_submodule(part).load_state_dict(pretext.get_submodule(part).state_dict(), strict=True)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        UNetEncoder(4, 1, FEATURES, 8)
    with pytest.raises(ValueError, match=r"features must be multiples of group_size 8, got \[8, 12\]"):
        UNetEncoder(2, 1, (8, 12), 8)
    with pytest.raises(ValueError, match="features must hold the channels of two levels or more"):
        UNetDecoder(2, (8,), 8)
    with pytest.raises(ValueError, match="image must have sides that are multiples of 4"):
        encoder()(torch.zeros(1, 1, 10, 8))
    with pytest.raises(ValueError, match="image must stack 2 members along its channels"):
        PretextNet(encoder(), nn.Identity(), members=2)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        PretextNet(encoder(), nn.Identity(), members=0)

"""A volume segmented slice by slice: who sees whom, and that it is the plain loop over slices."""

from __future__ import annotations

import pytest
import torch

from siamed.networks import mixed_precision
from siamed.networks.pretext_net import PixelHead, PretextNet
from siamed.networks.slab_unet import SlabUNet, slabs
from siamed.networks.unet import UNetDecoder, UNetEncoder

FEATURES = (8, 16)


def network(slices: int = 3, bfloat16: bool = False) -> SlabUNet:
    torch.manual_seed(0)
    return SlabUNet(slices, 2, FEATURES, 8, bfloat16=bfloat16).eval()


def volumes(batch: int = 2, depth: int = 7) -> torch.Tensor:
    return torch.randn(batch, 1, depth, 8, 12, generator=torch.Generator().manual_seed(1))


def test_the_slices_of_slabs_by_hand() -> None:
    volume = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    both = torch.cat([volume, volume + 10])
    found = slabs(both, 3)
    assert found.shape == (8, 3, 2, 2)
    first = [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]  # the ends repeat
    assert found[:4, :, 0, 0].tolist() == first
    assert found[4:, :, 0, 0].tolist() == [[k + 10 for k in row] for row in first]
    assert slabs(volume, 5)[:, :, 0, 0].tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
    ]
    assert torch.equal(slabs(volume, 1)[:, 0], volume[0, 0])


@pytest.mark.parametrize(("slices", "reach"), [(1, 0), (3, 1), (5, 2)])
@pytest.mark.parametrize("changed", [0, 3, 6])
def test_a_slice_is_seen_by_itself_and_its_neighbors_alone(slices: int, reach: int, changed: int) -> None:
    net, before = network(slices), volumes(1)
    after = before.clone()
    after[:, :, changed] += torch.rand(8, 12)
    with torch.no_grad():
        gap = (net(after) - net(before)).abs().amax((0, 1, 3, 4))
    assert [k for k in range(7) if gap[k] > 1e-6] == [k for k in range(7) if abs(k - changed) <= reach]


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_it_is_the_loop_over_slices(slices: int) -> None:
    net, images = network(slices), volumes()
    beyond = slices // 2
    expected = torch.empty(2, 2, 7, 8, 12)
    with torch.no_grad():
        for item in range(2):
            for k in range(7):
                around = [min(max(j, 0), 6) for j in range(k - beyond, k + beyond + 1)]
                slab = images[item, 0, around][None]
                expected[item, :, k] = net.head(net.decoder(net.trunk(slab)))[0]
        torch.testing.assert_close(net(images), expected, atol=1e-5, rtol=1e-5)


def test_one_volume_alone_gives_what_it_gives_in_a_batch() -> None:
    net, images = network().train(), volumes()
    torch.testing.assert_close(net(images)[1:], net(images[1:]))


def test_it_takes_trunk_and_decoder_of_a_task_on_slabs() -> None:
    trunk, decoder = UNetEncoder(2, 3, FEATURES, 8), UNetDecoder(2, FEATURES, 8)
    pretext, net = PretextNet(trunk, PixelHead(2, 8, 3), decoder), network()
    for part in ("trunk", "decoder"):
        net.get_submodule(part).load_state_dict(pretext.get_submodule(part).state_dict(), strict=True)


def test_torchscript_gives_the_same() -> None:
    net, images = network(), volumes()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(net)(images), net(images))


def test_in_bfloat16_it_trains_and_answers_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device_type: True)
    net, exact, images = network(bfloat16=True).train(), network().train(), volumes()
    found = net(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact(images), atol=0.1, rtol=0.1)
    assert not torch.equal(found, exact(images))
    assert torch.equal(net.eval()(images), exact.eval()(images))


@pytest.mark.parametrize("slices", [0, 2, 4, -1])
def test_an_even_number_of_slices_is_refused(slices: int) -> None:
    with pytest.raises(ValueError, match=f"slices must be odd, .* got {slices}"):
        SlabUNet(slices, 2, FEATURES, 8)


def test_several_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"volume must be \(B, 1, D, H, W\), got \[1, 2, 7, 8, 12\]"):
        network()(torch.zeros(1, 2, 7, 8, 12))


def test_a_slab_gives_what_its_middle_slice_has_in_the_volume() -> None:
    net, images = network(), volumes()
    with torch.no_grad():
        found = net(images[:, 0, 2:5])
        assert found.shape == (2, 2, 8, 12)
        assert torch.allclose(found, net(images)[:, :, 3], atol=1e-6)

"""The densely connected networks: the paper's blocks, one trunk for both, a branch that only trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siamed.networks import mixed_precision
from siamed.networks.dense_encoder import DenseEncoder, in_half_precision
from siamed.networks.dense_unet import DenseUNet
from siamed.networks.siamese_dense import SiameseDense

TRUNK = {"width": 4, "growth": 4, "layers": (2, 2, 4, 8), "group_size": 4}


def test_the_papers_blocks() -> None:
    trunk = DenseEncoder(**TRUNK)
    assert [len(block.layers) for block in trunk.blocks] == [2, 2, 4, 8]
    strides = [[m.stride[0] for m in r.modules() if isinstance(m, nn.Conv3d)] for r in trunk.reductions]
    kernels = [[m.kernel_size[0] for m in r.modules() if isinstance(m, nn.Conv3d)] for r in trunk.reductions]
    assert strides == [[2, 1]] * 4
    assert kernels == [[3, 1]] * 4
    found = trunk(torch.rand(1, 1, 16, 32, 48))
    assert [tuple(x.shape[2:]) for x in found] == [
        (16, 32, 48),
        (8, 16, 24),
        (4, 8, 12),
        (2, 4, 6),
        (1, 2, 3),
    ]
    assert [x.shape[1] for x in found] == [*trunk.skips, trunk.channels]
    # A dense layer sees all before it: 4, 4 + 4 channels in the first block.
    first = [layer[2].in_channels for layer in trunk.blocks[0].layers]
    assert first == [4, 8]


def test_a_norm_precedes_every_convolution_but_the_first() -> None:
    for network in (DenseUNet(**TRUNK, decoder_width=4), SiameseDense(**TRUNK, embedding=3, normalize=True)):
        kinds = [
            type(m) for m in network.modules() if isinstance(m, nn.GroupNorm | nn.Conv3d | nn.ConvTranspose3d)
        ]
        convolutions = [i for i, kind in enumerate(kinds) if kind is not nn.GroupNorm]
        assert convolutions[0] == 0
        assert all(kinds[i - 1] is nn.GroupNorm for i in convolutions[1:])


def test_the_reconstruction_trains_and_is_not_run_otherwise() -> None:
    torch.manual_seed(0)
    network, image = DenseUNet(**TRUNK, decoder_width=4), torch.rand(2, 1, 16, 16, 32)
    both = network.train()(image)
    assert tuple(both.shape) == (2, 2, 16, 16, 32)
    both[:, 1].mean().backward()
    assert all(p.grad is not None for p in network.reconstruction.parameters())
    assert all(not p.grad.any() for p in network.decoder.parameters() if p.grad is not None)
    assert any(bool((p.grad != 0).any()) for p in network.trunk.parameters() if p.grad is not None)
    called: list[int] = []
    network.reconstruction.register_forward_hook(lambda *_: called.append(1))
    alone = network.eval()(image)
    assert called == []
    torch.testing.assert_close(alone, both[:, :1].detach())  # no part of it behaves otherwise in training


def test_both_volumes_go_through_one_encoder_to_embeddings_of_length_one() -> None:
    torch.manual_seed(0)
    network = SiameseDense(**TRUNK, embedding=6, normalize=True).eval()
    pair = torch.rand(3, 2, 16, 16, 16)
    out = network(pair)
    assert tuple(out.shape) == (3, 2, 6)
    torch.testing.assert_close(network(pair.flip(1)), out.flip(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.norm(dim=2), torch.ones(3, 2))
    names = {key for key in network.state_dict() if key.startswith("trunk.")}
    assert names == {
        key for key in DenseUNet(**TRUNK, decoder_width=4).state_dict() if key.startswith("trunk.")
    }


def test_a_volume_two_voxels_deep_is_not_computed_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device_type: True)

    # Depths of the paper's four blocks: 32 ends at 2; 48 goes 24, 12, 6, 3.
    def enabled(depth: int, levels: int = 4) -> bool:
        with in_half_precision(torch.zeros(1, 1, depth, 16, 16), levels):
            return torch.is_autocast_enabled("cpu")

    assert enabled(48)
    assert enabled(64)
    assert not enabled(32)
    assert not enabled(16)
    assert enabled(32, levels=3)


@pytest.mark.parametrize("depth", [32, 48])
def test_its_gradients_in_bfloat16_are_those_of_single_precision(
    depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device_type: True)

    def gradient(bfloat16: bool) -> torch.Tensor:
        torch.manual_seed(0)
        network = DenseUNet(8, 8, (2, 2, 4, 8), 8, 8, bfloat16).train()
        image = torch.randn(1, 1, depth, 32, 32, generator=torch.Generator().manual_seed(1))
        network(image).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    exact, rounded = gradient(False), gradient(True)
    assert bool(rounded.isfinite().all())
    assert (
        float((exact - rounded).norm() / exact.norm()) < 0.3
    )  # garbage is as large as the gradient, or no number


def test_sides_and_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got \[1, 1, 16, 24, 16\]"):
        DenseEncoder(**TRUNK)(torch.zeros(1, 1, 16, 24, 16))
    with pytest.raises(ValueError, match=r"volume must be \(B, 1, D, H, W\), got \[1, 2, 16, 16, 16\]"):
        DenseEncoder(**TRUNK)(torch.zeros(1, 2, 16, 16, 16))
    with pytest.raises(ValueError, match="multiple of group_size 4, got 6"):
        DenseEncoder(**{**TRUNK, "width": 6})
    with pytest.raises(ValueError, match="number of layers of each block"):
        DenseEncoder(**{**TRUNK, "layers": ()})
    with pytest.raises(ValueError, match=r"pair must be \(B, 2, D, H, W\), got \[1, 1, 16, 16, 16\]"):
        SiameseDense(**TRUNK, embedding=3, normalize=True)(torch.zeros(1, 1, 16, 16, 16))

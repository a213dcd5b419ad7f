"""The Siamese VGG-M: the paper's sizes, one encoder for both volumes, embeddings of length one."""

from __future__ import annotations

import pytest
import torch

from siamed.networks.siamese_vgg_m import SiameseVGGM
from siamed.networks.vgg_m import VGGMTrunk


def small(**changes) -> SiameseVGGM:
    given = {"levels": 7, "slices": 1, "spatial_size": (48, 48), "width": 0.05, "hidden": 16, "embedding": 12}
    given |= {"dropout": 0.2, "batch_norm": True, "conv2_stride": 1, "pool5": True, "volumetric": True}
    torch.manual_seed(0)
    return SiameseVGGM(**{**given, "normalize": True, **changes})


def test_the_papers_trunk_is_volumetric_up_to_conv4() -> None:
    trunk = VGGMTrunk(9, 1.0, False, volumetric=True)
    shapes = [
        tuple(m.weight.shape) for m in trunk.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d))
    ]
    assert shapes[0] == (96, 1, 3, 7, 7)
    assert shapes[3] == (512, 512, 9, 3, 3)  # 3 x 3 x 9 in the paper's order
    assert shapes[4] == (512, 512, 3, 3)
    assert [len(shape) for shape in shapes] == [5, 5, 5, 5, 4]
    fourth = [m for m in trunk.modules() if isinstance(m, torch.nn.Conv3d)][3]
    assert fourth.padding[0] == 0


def test_the_papers_volume_becomes_an_embedding_of_1024_and_seven_levels() -> None:
    # The paper's input and head; the trunk narrow, so that a test can afford it.
    sizes = {"slices": 9, "spatial_size": (224, 224), "conv2_stride": 2, "hidden": 1024, "embedding": 1024}
    network = small(**sizes, batch_norm=False, dropout=0.0).eval()
    assert tuple(network.trunk(torch.zeros(1, 1, 9, 224, 224)).shape[2:]) == (14, 14)
    assert tuple(network(torch.rand(1, 2, 9, 224, 224)).shape) == (1, 2, 1031)


def test_one_slice_is_the_same_network_either_way() -> None:
    flat, deep = (VGGMTrunk(1, 0.05, True, 1, volumetric).state_dict() for volumetric in (False, True))
    assert [(k, v.shape) for k, v in flat.items()] == [(k, v.shape) for k, v in deep.items()]


@pytest.mark.parametrize("slices", [1, 5])
def test_both_volumes_go_through_one_encoder(slices: int) -> None:
    network = small(slices=slices).eval()
    pair = torch.rand(3, 2, slices, 48, 48)
    out = network(pair)
    torch.testing.assert_close(network(pair.flip(1)), out.flip(1), rtol=1e-4, atol=1e-5)
    same = network(pair[:, :1].expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(same[:, 0], out[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same[:, 1], out[:, 0], rtol=1e-4, atol=1e-5)


def test_embeddings_have_length_one_where_asked_and_levels_read_them_before() -> None:
    pair = torch.rand(2, 2, 1, 48, 48)
    embedding, levels = (network := small().eval()).split(network(pair))
    torch.testing.assert_close(embedding.norm(dim=2), torch.ones(2, 2))
    assert tuple(levels.shape) == (2, 2, 7)
    plain = small(normalize=False).eval()
    loose, same_levels = plain.split(plain(pair))
    assert not torch.allclose(loose.norm(dim=2), torch.ones(2, 2))
    torch.testing.assert_close(same_levels, levels)


@pytest.mark.parametrize("slices", [1, 5])
def test_it_can_be_scripted_and_trains_in_bfloat16(slices: int) -> None:
    network = small(slices=slices, bfloat16=True)
    pair = torch.rand(2, 2, slices, 48, 48)
    network(pair).sum().backward()
    assert all(p.grad is not None and p.dtype == torch.float32 for p in network.parameters())
    network.eval()
    torch.testing.assert_close(torch.jit.script(network)(pair), network(pair), rtol=1e-4, atol=1e-5)


def test_a_pair_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pair must be \(B, 2, D, H, W\), got \[1, 3, 1, 48, 48\]"):
        small()(torch.zeros(1, 3, 1, 48, 48))

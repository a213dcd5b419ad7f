"""bfloat16 is used where the machine computes in it, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from siamed.networks import mixed_precision
from siamed.networks.mixed_precision import bfloat16_where_native, computes_bfloat16
from siamed.networks.slab_unet import SlabUNet


@pytest.mark.parametrize("native", [True, False])
def test_a_network_trains_in_bfloat16_only_where_the_machine_computes_in_it(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device_type: native)
    network = SlabUNet(3, 1, [8, 16], group_size=8, bfloat16=True)
    seen: list[torch.dtype] = []
    network.trunk.first.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
    network.train()(torch.rand(1, 3, 16, 16))
    network.eval()(torch.rand(1, 3, 16, 16))
    assert seen == [torch.bfloat16 if native else torch.float32, torch.float32]


def test_what_must_be_in_single_precision_is_so_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "computes_bfloat16", lambda device_type: True)
    with bfloat16_where_native(torch.device("cpu"), enabled=False):
        assert not torch.is_autocast_enabled("cpu")


def test_a_processor_has_bfloat16_only_if_onednn_has_kernels_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    computes_bfloat16.cache_clear()
    assert computes_bfloat16("cpu") == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    computes_bfloat16.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not computes_bfloat16("cpu")
    computes_bfloat16.cache_clear()

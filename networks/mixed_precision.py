"""Training in bfloat16 where the machine computes in it, and in single precision where it does not.

A processor without instructions for it (x86 without AVX-512) would emulate it, which takes longer than single
precision, not shorter (``benchmarks/bfloat16_step.py``).
"""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["bfloat16_where_native", "computes_bfloat16"]


@cache
def computes_bfloat16(device_type: str) -> bool:
    """Whether convolutions in bfloat16 are computed as such on this machine, not emulated.

    Args:
        device_type: such as ``cpu`` or ``cuda``; one that cannot be asked is taken to do so.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return True


def bfloat16_where_native(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Run in bfloat16 where the device computes in it, in single precision elsewhere.

    Args:
        device: of the network's input.
        enabled: False for inputs that must be computed in single precision everywhere.
    """
    native = enabled and computes_bfloat16(device.type)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=native)

"""One training in several processes (torchrun): who this process is, its device, its view of the network."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["is_main_process", "process_device", "rank", "unwrap_network", "wrap_network"]


def rank() -> int:
    """Number of this process among those of a torchrun; 0 where there is one process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process writes files and tracking."""
    return rank() == 0


def process_device(backend: str = "nccl") -> torch.device:
    """The device of this process: the GPU of its local rank for nccl, the CPU for gloo.

    Raises:
        ValueError: if the backend is neither.
    """
    if backend == "gloo":
        return torch.device("cpu")
    if backend != "nccl":
        raise ValueError(f"backend must be 'nccl' (GPUs) or 'gloo' (CPUs), got {backend!r}")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def wrap_network(network: nn.Module, device: torch.device) -> nn.Module:
    """Put a network on this process's device and share its gradients with the other processes."""
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(network.to(device), device_ids=ids)


def unwrap_network(network: nn.Module) -> nn.Module:
    """The network that :func:`wrap_network` wrapped; one that is not wrapped, as it is."""
    return getattr(network, "module", network)

"""Which device networks run on. This module imports torch only when asked."""

from __future__ import annotations

__all__ = ["pick_device"]


def pick_device(name: str = "auto") -> str:
    """Return a torch device that exists here: "auto" takes CUDA, else Apple's GPU, else the CPU.

    Raises:
        ValueError: if the name is no device of this machine.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise ValueError(f"device must be auto, cpu, cuda or mps and present here, got {name!r}") from error
    return name

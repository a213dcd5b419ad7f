"""The one input of a bundle's network, as ``network_data_format`` in its metadata describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["InputFormat", "only_tensor"]

_EXAMPLE_SIZE = 16  # at least where any length goes
_EXAMPLE_STEPS = 2  # along an axis whose length is free; one leaves nothing to normalize at a U-Net's bottom


@dataclass(frozen=True)
class InputFormat:
    """The one input of a bundle's network, from ``network_data_format``.

    Args:
        channels: number of channels.
        steps: by spatial axis, the length or what it must be a multiple of.
        free: by spatial axis, whether multiples are allowed.
        value_range: lowest and highest value; (0, 1) where the metadata give none.
    """

    channels: int
    steps: tuple[int, ...]
    free: tuple[bool, ...]
    value_range: tuple[float, float]

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any]) -> InputFormat:
        """Read it from the content of ``metadata.json``.

        Raises:
            ValueError: if the network has several inputs, or a length that is neither a number, ``K*n`` nor
                ``*``.
        """
        tensor = only_tensor(metadata, "inputs")
        sizes = [_step(size) for size in tensor["spatial_shape"]]
        low_high = tuple(float(value) for value in tensor.get("value_range", ()))
        return cls(
            int(tensor["num_channels"]),
            tuple(step for step, _ in sizes),
            tuple(free for _, free in sizes),
            (low_high[0], low_high[1]) if len(low_high) == 2 else (0.0, 1.0),
        )

    @property
    def ndim(self) -> int:
        """Number of axes, the channels' included."""
        return 1 + len(self.steps)

    def __str__(self) -> str:
        lengths = [
            f"{step}*n" if free else str(step) for step, free in zip(self.steps, self.free, strict=True)
        ]
        return f"({', '.join([str(self.channels), *lengths])})"

    def check(self, shape: Sequence[int]) -> None:
        """Compare the shape of an input, without a batch axis.

        Raises:
            ValueError: if it does not fit.
        """
        fits = len(shape) == self.ndim and shape[0] == self.channels
        lengths = zip(shape[1:], self.steps, self.free, strict=False)
        if not fits or any((n < step or n % step) if free else n != step for n, step, free in lengths):
            raise ValueError(
                f"image must be one input of the network {self}, channels first and without a batch axis, "
                f"got shape {tuple(shape)}: prepare it so, or give a scan's file in the column 'path'"
            )

    @property
    def free_dimensions(self) -> dict[int, int]:
        """Axes of a batch whose length is free (2 is the first spatial one), and what it is a multiple of."""
        axes = zip(range(2, 2 + len(self.steps)), self.steps, self.free, strict=True)
        return {axis: step for axis, step, free in axes if free}

    def example_shape(self) -> tuple[int, ...]:
        """A small shape that fits, without a batch axis."""
        lengths = (
            step * max(_EXAMPLE_STEPS, -(-_EXAMPLE_SIZE // step)) if free else step
            for step, free in zip(self.steps, self.free, strict=True)
        )
        return (self.channels, *lengths)

    def example(self) -> list[Any]:
        """Noise that fits, the same each time, as nested lists."""
        noise = np.random.default_rng(0).uniform(*self.value_range, self.example_shape())
        return noise.round(2).tolist()


def only_tensor(metadata: Mapping[str, Any], side: str) -> dict[str, Any]:
    """The one tensor among ``inputs`` or ``outputs``, as it stands in the metadata.

    Raises:
        ValueError: if there are several.
    """
    tensors = metadata["network_data_format"][side]
    if len(tensors) != 1:
        raise ValueError(f"network_data_format must have one tensor in {side!r}, got {sorted(tensors)}")
    return next(iter(tensors.values()))


def _step(size: int | str) -> tuple[int, bool]:
    """An entry of ``spatial_shape`` as its length or step, and whether multiples are allowed."""
    text = str(size).replace(" ", "")
    match = re.fullmatch(r"([1-9]\d*)(\*n)?|\*", text)
    if match is None:
        raise ValueError(f"spatial_shape must hold numbers, 'K*n' or '*', got {size!r}")
    return int(match[1] or 1), match[1] is None or match[2] is not None

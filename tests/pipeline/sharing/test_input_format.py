"""The input of a network, read from a bundle's metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from siamed.pipeline.sharing.input_format import InputFormat


def test_sizes_of_an_input_come_from_the_metadata() -> None:
    def of(shape: list[Any]) -> InputFormat:
        tensor = {"num_channels": 2, "spatial_shape": shape, "value_range": [0, 2]}
        return InputFormat.of_metadata({"network_data_format": {"inputs": {"image": tensor}}})

    free = of([3, "6 * n", "*"])
    assert str(free) == "(2, 3, 6*n, 1*n)"
    free.check((2, 3, 12, 7))
    example = np.array(free.example())
    free.check(example.shape)
    assert example.shape == (2, 3, 18, 16)
    assert 1 < example.max() <= 2
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 13, 7\)"):
        free.check((2, 3, 13, 7))
    with pytest.raises(ValueError, match=r"numbers, 'K\*n' or '\*', got '2\*\*p'"):
        of(["2**p"])
    two = {"network_data_format": {"inputs": {"b": {}, "a": {}}}}
    with pytest.raises(ValueError, match=r"one tensor in 'inputs', got \['a', 'b'\]"):
        InputFormat.of_metadata(two)

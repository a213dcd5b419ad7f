"""A device is one that is here."""

from __future__ import annotations

import pytest

from siamed.pipeline.devices import pick_device


def test_a_device_that_is_not_here_is_refused() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or mps"):
        pick_device("abacus")

"""A data set whose epoch is a unit of work, whatever the number of its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from monai.data import Dataset

__all__ = ["RepeatedDataset"]


class RepeatedDataset(Dataset):
    """Each epoch sees a fixed number of items.

    Args:
        items: a sequence, or a data set.
        transform: applied to each item.
        length: items an epoch, drawn with replacement.

    Randomness: which items, drawn from numpy's global state (seeded for each epoch by ``EpochSeeds``).
    """

    def __init__(self, items: Sequence[Any], transform: Callable, length: int) -> None:
        super().__init__(items, transform)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def _transform(self, index: int) -> Any:
        return super()._transform(int(np.random.randint(len(self.data))))

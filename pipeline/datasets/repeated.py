"""A data set whose epoch is a unit of work, whatever the number of its items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from monai.data import Dataset, get_track_meta, set_track_meta

__all__ = ["RepeatedDataset"]


class RepeatedDataset(Dataset):
    """Each epoch sees a fixed number of items.

    Args:
        items: a sequence, or a data set.
        transform: applied to each item.
        length: items an epoch, drawn with replacement.
        track_meta: False where no transform reads an image's metadata, such as its affine: they are not
            carried along then, and the same item takes less time.

    Randomness: which items, drawn from numpy's global state (seeded for each epoch by ``EpochSeeds``).
    """

    def __init__(
        self, items: Sequence[Any], transform: Callable, length: int, track_meta: bool = True
    ) -> None:
        super().__init__(items, transform)
        self.length, self.track_meta = length, track_meta

    def __len__(self) -> int:
        return self.length

    def _transform(self, index: int) -> Any:
        item = self.data[int(np.random.randint(len(self.data)))]  # loaded with its metadata in any case
        with _tracking_metadata(self.track_meta):
            return self.transform(item)


@contextmanager
def _tracking_metadata(track: bool) -> Iterator[None]:
    before = get_track_meta()
    set_track_meta(track)  # MONAI's switch is of the whole process
    try:
        yield
    finally:
        set_track_meta(before)

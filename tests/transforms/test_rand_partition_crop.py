"""A crop that knows from which part of the volume it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from siamed.networks.losses.global_contrastive import ALONE
from siamed.transforms.rand_partition_crop import RandPartitionCropd

KEYS = ("image", "label")


def coded(depth: int = 10, height: int = 20, width: int = 30) -> torch.Tensor:
    """A volume whose three channels are each voxel's own place."""
    axes = (torch.arange(n) for n in (depth, height, width))
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).float()


def test_the_part_of_the_middle_slice_by_hand() -> None:
    crop = RandPartitionCropd(KEYS, (3, 4, 4), 4)
    # Middle slices 1 to 6 of 8, in four parts of two slices: 0 1 | 2 3 | 4 5 | 6 7.
    assert [crop.partition(first, 8) for first in range(6)] == [0, 1, 1, 2, 2, 3]
    # Ten slices in four parts: 0 1 2 | 3 4 | 5 6 7 | 8 9.
    thin = RandPartitionCropd(KEYS, (1, 4, 4), 4)
    assert [thin.partition(first, 10) for first in range(10)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_without_parts_a_crop_is_like_nothing_else() -> None:
    done = RandPartitionCropd(KEYS, (3, 4, 4), 0)({"image": coded()})
    assert done["label"].item() == ALONE


@pytest.mark.parametrize("size", [(3, 8, 6), (1, 20, 30), (10, 1, 1)])
def test_a_crop_is_a_piece_of_the_volume_and_its_number_is_that_of_its_place(
    size: tuple[int, int, int],
) -> None:
    transform = RandPartitionCropd(KEYS, size, 5).set_random_state(seed=0)
    source, firsts = coded(), set()
    for _ in range(300):
        done = transform({"image": source})
        first = done["image"][:, 0, 0, 0].long().tolist()
        place = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
        assert torch.equal(done["image"], source[(slice(None), *place)])
        assert done["image"].shape == (3, *size)
        middle = first[0] + size[0] // 2
        assert done["label"].item() == middle // 2  # of ten slices two make a part
        assert (done["label"].dtype, done["label"].shape) == (torch.int64, ())
        firsts.add(first[0])
    assert firsts == set(range(11 - size[0]))  # every slab is drawn, the first and the last too


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": (3, 4)}, r"size must be three numbers of voxels, got \[3, 4\]"),
        ({"size": (0, 4, 4)}, r"size must be three numbers of voxels, got \[0, 4, 4\]"),
        ({"partitions": 1}, "partitions must be 0, or at least 2, got 1"),
        ({"partitions": -1}, "partitions must be 0, or at least 2, got -1"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RandPartitionCropd(**{"keys": KEYS, "size": (3, 4, 4), "partitions": 4, **change})


def test_a_volume_smaller_than_the_crop_is_named() -> None:
    with pytest.raises(ValueError, match=r"image must be at least \(3, 40, 4\) voxels, got \(10, 20, 30\)"):
        RandPartitionCropd(KEYS, (3, 40, 4), 0)({"image": coded()})

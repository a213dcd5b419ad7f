"""A crop that knows from which part of the volume it is: slices of one part show like anatomy in all patients
[chaitanya2020contrastive, Sec. 3.1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, Randomizable

__all__ = ["RandPartitionCropd"]


class RandPartitionCropd(MapTransform, Randomizable):
    """Cut a slab, and say in which part of the volume its middle slice lies.

    Volumes that are to be compared must show the same field from end to end, or their parts are not alike.

    Args:
        keys: the image's key, then the key for the part's number.
        size: of the crop (D, H, W), in voxels.
        partitions: into how many parts the slices fall; 0: the number is -1, "like nothing else".

    Shape:
        - image ``(C, D, H, W)`` to ``(C, *size)``;
        - number: int64 scalar in [0, partitions), counted along D.

    Raises:
        ValueError: if a setting is impossible; in a call, if the volume is smaller than the crop.

    Randomness: the place, evenly, with ``self.R``.
    """

    def __init__(self, keys: tuple[Hashable, Hashable], size: Sequence[int], partitions: int) -> None:
        MapTransform.__init__(self, keys)
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"size must be three numbers of voxels, got {list(size)}")
        if partitions < 0 or partitions == 1:
            raise ValueError(f"partitions must be 0, or at least 2, got {partitions}")
        self.size, self.partitions = tuple(int(n) for n in size), int(partitions)

    def draw(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """First voxel of a crop of a volume ``(D, H, W)``."""
        room = [whole - part for whole, part in zip(shape, self.size, strict=True)]
        if min(room) < 0:
            raise ValueError(f"image must be at least {self.size} voxels, got {tuple(shape)}: pad it")
        d, h, w = (int(self.R.randint(n + 1)) for n in room)
        return d, h, w

    def partition(self, first: int, depth: int) -> int:
        """In which part the crop's middle slice lies, when the crop begins at a slice; -1 without parts."""
        if not self.partitions:
            return -1
        return (first + self.size[0] // 2) * self.partitions // depth

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = result[key]
        first = self.draw(image.shape[1:])
        place = (slice(None), *(slice(a, a + n) for a, n in zip(first, self.size, strict=True)))
        result[key] = image[place]
        result[target] = torch.tensor(self.partition(first[0], image.shape[1]))
        return result

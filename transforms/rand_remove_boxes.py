"""In-painting: boxes are cut out of an image, and the network fills them in [pathak2016context].

Which boxes is drawn by MONAI's ``RandCoarseDropout``; what is added is the target and its mask.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, RandCoarseDropout, Randomizable

__all__ = ["RandRemoveBoxesd", "remove_boxes"]


def remove_boxes(
    image: torch.Tensor, boxes: Sequence[Sequence[slice]], value: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """An image without some boxes, and the mask of them.

    Args:
        image: ``(C, ...)``.
        boxes: slices of the spatial axes, a sequence a box.
        value: what the boxes are filled with.

    Returns:
        A new image, and a mask ``(1, ...)`` of the image's type, 1 in the boxes.
    """
    mask = torch.zeros_like(image[:1])
    for box in boxes:
        inside = (slice(None), *box)
        mask[inside] = 1
    return torch.where(mask.bool(), torch.full_like(image, value), image), mask


class RandRemoveBoxesd(MapTransform, Randomizable):
    """Cut boxes out of an image, and keep what was in them.

    Args:
        keys: the image's key, then the key for what is to be learned: the image as it was and, behind it
            along the channels, 1 where it was removed and 0 elsewhere.
        boxes: (fewest, most) boxes.
        size: smallest side lengths of a box, one a spatial axis or one for all.
        largest: largest side lengths; None: all boxes have ``size``.
        value: what is put in their place; 0 is the mean of a normalized image.

    Shape:
        - image ``(C, ...)`` in and out; target ``(C + 1, ...)`` float32.

    Randomness: number, sides and places of the boxes, by MONAI's transform seeded with ``self.R``.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        boxes: tuple[int, int],
        size: Sequence[int] | int,
        largest: Sequence[int] | int | None = None,
        value: float = 0.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        fewest, most = boxes
        if not 1 <= fewest <= most:
            raise ValueError(f"boxes must be (fewest, most) with 1 <= fewest <= most, got {tuple(boxes)}")
        self.value = float(value)
        self._holes = RandCoarseDropout(
            fewest, size, fill_value=value, max_holes=most, max_spatial_size=largest, prob=1.0
        )

    def draw(self, shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
        """Boxes of an image ``(C, ...)``, as slices of its spatial axes."""
        self._holes.set_random_state(seed=int(self.R.randint(2**31 - 1)))
        self._holes.randomize(shape[1:])
        # MONAI's first slice is that of the channels.
        return [tuple(box[-len(shape[1:]) :]) for box in self._holes.hole_coords]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = torch.as_tensor(result[key]).float()
        changed, mask = remove_boxes(image, self.draw(tuple(image.shape)), self.value)
        result[target] = torch.cat([image, mask])
        result[key] = changed
        return result

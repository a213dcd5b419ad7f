"""Rotation as a task: a volume is turned by quarter turns, and the network says how [gidaris2018rotation].

Quarter turns move voxels and resample nothing, so that no blur tells them. What could tell them instead is
the voxel: turned out of its plane, a volume of thick slices has its stairs along another axis, and a network
need not look at anatomy. So the axes that are turned must have one spacing; a volume of thick slices is
turned in its plane alone, or resampled before.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable

__all__ = ["RandQuarterTurnd", "TURNS", "quarter_turn"]

IN_PLANE = ((0, None), (1, (1, 2)), (2, (1, 2)), (3, (1, 2)))
TURNS = {
    "in_plane": IN_PLANE,
    "all": (
        *IN_PLANE,
        *((n, (0, 2)) for n in (1, 2, 3)),
        *((n, (0, 1)) for n in (1, 2, 3)),
    ),
}
"""Quarter turns by label: how many, and in the plane of which spatial axes of ``(C, D, H, W)``. Label 0 is
none; "in_plane" has 4 labels, "all" has 10, about each axis by one, two and three quarters."""
_SAME = 1e-3  # relative difference of spacings that counts as none


def quarter_turn(image: torch.Tensor, label: int, turns: str = "all") -> torch.Tensor:
    """Turn a volume.

    Args:
        image: ``(C, D, H, W)``.
        label: which turn.
        turns: a key of :data:`TURNS`.

    Returns:
        The turned volume, a view; for an odd number of quarters two of its sides have changed places.
    """
    count, axes = TURNS[turns][label]
    if axes is None:
        return image
    return torch.rot90(image, count, [axis + 1 for axis in axes])


class RandQuarterTurnd(MapTransform, Randomizable):
    """Turn a volume by a turn that is drawn, and say which.

    Args:
        keys: the image's key, then the key for the label.
        turns: "in_plane" (4 labels) or "all" (10 labels).

    Shape:
        - image ``(C, D, H, W)``, in and out; sides that are turned into each other must be equal;
        - label: int64 scalar.

    Raises:
        ValueError: for another name; in a call, if sides or spacings (of a ``MetaTensor``) that are turned
            into each other differ.

    Randomness: the label, drawn evenly with ``self.R``.
    """

    def __init__(self, keys: tuple[Hashable, Hashable], turns: str) -> None:
        MapTransform.__init__(self, keys)
        if turns not in TURNS:
            raise ValueError(f"turns must be one of {list(TURNS)}, got {turns!r}")
        self.turns = turns

    def draw(self) -> int:
        """A label."""
        return int(self.R.randint(len(TURNS[self.turns])))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = result[key]
        self._check(image)
        label = self.draw()
        result[key] = quarter_turn(
            torch.as_tensor(image).as_subclass(torch.Tensor), label, self.turns
        ).contiguous()
        result[target] = torch.tensor(label)
        return result

    def _check(self, image: Any) -> None:
        turned = [1, 2] if self.turns == "in_plane" else [0, 1, 2]
        sides = [image.shape[axis + 1] for axis in turned]
        if len(set(sides)) > 1:
            raise ValueError(
                f"image must have equal sides where it is turned, got {tuple(image.shape[1:])}: crop it to a "
                'cube, or turn it "in_plane"'
            )
        if isinstance(image, MetaTensor):
            spacing = np.asarray(image.pixdim, float)[turned]
            if np.ptp(spacing) > _SAME * spacing.max():
                raise ValueError(
                    "image must have one spacing where it is turned, got "
                    f'{np.asarray(image.pixdim).round(3)} mm: resample it, or turn it "in_plane"'
                )

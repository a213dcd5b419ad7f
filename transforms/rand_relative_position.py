"""Relative position in 3-D: on which side of one cube does another one lie? [blendowski2019learn, Sec. 2.1]

A reference cube and a query cube are cut from a volume; the query lies above, below, before, behind, to the
right or to the left of it, in the patient: the label comes from the affine and is the same however the array
is stored. A gap between the cubes, and a jitter of the query along all axes, keep a network from joining
edges that run over the border instead of looking at anatomy [doersch2015context, Sec. 3].
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable

__all__ = ["DIRECTIONS", "CubePair", "RandRelativePositiond", "cut_cubes"]

DIRECTIONS = ("superior", "inferior", "anterior", "posterior", "right", "left")
"""Where the query lies, seen from the reference; the label is the place in this list."""
_CODES = "SIAPRL"


@dataclass(frozen=True)
class CubePair:
    """Two cubes of a volume, by the voxels where they begin.

    Args:
        reference: first voxel of the reference cube (D, H, W).
        query: first voxel of the query cube.
        label: an index into :data:`DIRECTIONS`.
    """

    reference: tuple[int, int, int]
    query: tuple[int, int, int]
    label: int


def cut_cubes(image: torch.Tensor, pair: CubePair, cube: Sequence[int]) -> torch.Tensor:
    """The two cubes, reference first, along the channels.

    Args:
        image: ``(C, D, H, W)``.
        pair: where.
        cube: side lengths, in voxels.

    Returns:
        ``(2 C, *cube)``.
    """
    places = [
        (slice(None), *(slice(start, start + side) for start, side in zip(first, cube, strict=True)))
        for first in (pair.reference, pair.query)
    ]
    return torch.cat([image[place] for place in places])


class RandRelativePositiond(MapTransform, Randomizable):
    """Cut two cubes that lie beside each other, and say how.

    Args:
        keys: the image's key, then the key for the label.
        cube: side lengths of a cube, in voxels (D, H, W).
        gap: voxels between the cubes along the axis on which they lie, before jitter (D, H, W).
        jitter: largest shift of the query along each axis, in voxels (D, H, W); at most the gap, so that
            cubes never overlap.
        masked_border: voxels along the faces of both cubes that take the mean of what is left (D, H, W):
            what a network still knows then, it does not know from edges that run over the border.

    Shape:
        - image ``(C, D, H, W)``, a ``MetaTensor`` whose affine says where the patient's sides are, to
          ``(2 C, *cube)``;
        - label: int64 scalar, an index into :data:`DIRECTIONS`.

    Raises:
        ValueError: if a setting is impossible; in a call, if the volume is too small for any direction, or
            has no affine.

    Randomness: direction (evenly among those that fit), place and jitter, drawn with ``self.R``.
    """

    def __init__(
        self,
        keys: tuple[Hashable, Hashable],
        cube: Sequence[int],
        gap: Sequence[int],
        jitter: Sequence[int],
        masked_border: Sequence[int] = (0, 0, 0),
    ) -> None:
        MapTransform.__init__(self, keys)
        settings = {"cube": cube, "gap": gap, "jitter": jitter, "masked_border": masked_border}
        for name, values in settings.items():
            if len(values) != 3 or any(int(v) != v or v < (name == "cube") for v in values):
                raise ValueError(f"{name} must be three numbers of voxels, got {list(values)}")
        if any(j > g for j, g in zip(jitter, gap, strict=True)):
            raise ValueError(f"jitter must be at most gap, got {list(jitter)} and {list(gap)}")
        if any(2 * border >= side for border, side in zip(masked_border, cube, strict=True)):
            raise ValueError(
                f"masked_border must leave something of the cube, got {list(masked_border)} of {list(cube)}"
            )
        self.cube, self.gap, self.jitter = (np.asarray(v, int) for v in (cube, gap, jitter))
        self.masked_border = [int(border) for border in masked_border]

    def draw(self, shape: Sequence[int], codes: Sequence[str]) -> CubePair:
        """Draw a pair of cubes.

        Args:
            shape: of the volume (D, H, W).
            codes: for each axis the letter of the side that its index grows towards, such as ("I", "P", "L").
        """
        room = np.asarray(shape) - self.cube - 2 * self.jitter  # in which the reference may begin
        axes = [k for k in range(3) if room[k] - self._step(k) >= 0 and min(room) >= 0]
        if not axes:
            raise ValueError(
                f"image must have room for two cubes of {self.cube.tolist()} voxels with gap "
                f"{self.gap.tolist()} and jitter {self.jitter.tolist()}, got {tuple(shape)}: make them "
                "smaller, or resample finer"
            )
        axis, sign = axes[self.R.randint(len(axes))], (1, -1)[self.R.randint(2)]
        step = np.zeros(3, int)
        step[axis] = sign * self._step(axis)
        low = self.jitter + np.maximum(-step, 0)
        high = np.asarray(shape) - self.cube - self.jitter - np.maximum(step, 0)
        first = np.array([self.R.randint(a, b + 1) for a, b in zip(low, high, strict=True)])
        shift = np.array([self.R.randint(-j, j + 1) for j in self.jitter])
        towards = _CODES.index(codes[axis])
        label = towards if sign > 0 else towards ^ 1  # opposite sides are neighbors in the list
        query = first + step + shift
        (d, h, w), (u, v, x) = first.tolist(), query.tolist()
        return CubePair((d, h, w), (u, v, x), label)

    def _step(self, axis: int) -> int:
        return int(self.cube[axis] + self.gap[axis])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key, target = self.keys
        image = result[key]
        if not hasattr(image, "affine"):
            raise ValueError("image must be a MetaTensor: without an affine nobody knows which side is which")
        codes = nibabel.aff2axcodes(np.asarray(image.affine, float))
        pair = self.draw(image.shape[1:], codes)
        cubes = cut_cubes(image.as_subclass(torch.Tensor), pair, self.cube.tolist())
        result[key] = _mask_borders(cubes, self.masked_border)
        result[target] = torch.tensor(pair.label)
        return result


def _mask_borders(cubes: torch.Tensor, border: Sequence[int]) -> torch.Tensor:
    """Cubes ``(2 C, D, H, W)`` whose borders are the mean of their insides."""
    inside = (slice(None), *(slice(n, size - n) for n, size in zip(border, cubes.shape[1:], strict=True)))
    kept = cubes[inside]
    masked = kept.mean(dim=(1, 2, 3), keepdim=True).expand(cubes.shape).clone()
    masked[inside] = kept
    return masked

"""Several views of one image, each changed by draws of its own: what contrastive losses compare."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, MapTransform, Randomizable

__all__ = ["RandViewsd"]


class RandViewsd(MapTransform, Randomizable):
    """Change an image several times over, and stack the views along the channels.

    Args:
        keys: the image's key.
        transforms: dictionary transforms of that key, drawn anew for each view; they must keep its shape.
        views: how many, at least 2.

    Shape:
        - image ``(C, ...)`` to ``(views * C, ...)``, a plain tensor.

    Raises:
        ValueError: for less than two views; in a call, if a view has another shape than the first.

    Randomness: that of the transforms, seeded once with this one.
    """

    def __init__(self, keys: Hashable, transforms: Sequence[Callable[..., Any]], views: int = 2) -> None:
        MapTransform.__init__(self, keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys must be one key, got {list(self.keys)}")
        if views < 2:
            raise ValueError(f"views must be at least 2, got {views}")
        self.transforms, self.views = Compose(list(transforms)), int(views)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandViewsd:
        """Seed this transform, and from it those of the views."""
        super().set_random_state(seed, state)
        self.transforms.set_random_state(seed=int(self.R.randint(2**31 - 1)))
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        key = self.keys[0]
        found: list[torch.Tensor] = []
        for _ in range(self.views):
            view = self.transforms({key: result[key]})[key]
            found.append(torch.as_tensor(view).as_subclass(torch.Tensor))
        shapes = {tuple(view.shape) for view in found}
        if len(shapes) > 1:
            raise ValueError(f"transforms must keep the shape of {key}, they gave {sorted(shapes)}")
        result[key] = torch.cat(found)
        return result

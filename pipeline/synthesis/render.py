"""Images rendered from maps, one of each, alike each time: what is scored, or cut once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged
from tqdm import tqdm

from siamed.pipeline.experiments.seeds import epoch_seed
from siamed.transforms.rand_ct_appearance import RandCTAppearanced

__all__ = ["rendered"]


def rendered(
    items: Sequence[Mapping[str, Any]], seed: int
) -> Iterator[tuple[Mapping[str, Any], MetaTensor, MetaTensor]]:
    """Render each map once.

    Args:
        items: of :func:`~siamed.pipeline.synthesis.prepare.map_items`.
        seed: of all renderings; that of one depends on its place among the items too.

    Returns:
        Of each item the item, the image ``(1, D, H, W)`` in HU, and the label, 1 in kidneys.
    """
    render = RandCTAppearanced("tissues")
    show = Compose([LoadImaged("tissues", ensure_channel_first=True, dtype=np.uint8), render])
    for index, item in enumerate(tqdm(items, desc="maps", mininterval=5.0, disable=not sys.stderr.isatty())):
        render.set_random_state(seed=epoch_seed(seed, 0, index))
        seen = show({"tissues": item["tissues"]})
        yield item, seen["image"], seen["label"]

"""From a folder of segmented scans and a split to the items that a training asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, Dataset
from monai.data.utils import set_rnd

from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.seeds import epoch_seed

__all__ = ["FixedDataset", "labelled_items"]


def labelled_items(
    dataset_dir: str | Path, split: str | Path, fold: int | None, part: str
) -> list[dict[str, str]]:
    """Segmented scans of one part of a split.

    Args:
        dataset_dir: in a layout that
            :func:`~siamed.pipeline.datasets.image_label_folder.segmentation_manifest` knows.
        split: file of folds of subject ids.
        fold: the fold left out; None trains on all and watches fold 0.
        part: "training" or "validation".

    Returns:
        Items ``image``, ``label`` (paths), ``case_id`` and ``subject_id``.

    Raises:
        ValueError: if no scan of these subjects has a label map.
    """
    manifest, subjects = segmentation_manifest(dataset_dir), set(fold_parts(split, fold, part))
    items = [
        {
            "image": str(manifest.root / row.image),
            "label": str(manifest.root / row.label),
            "case_id": row.case_id,
            "subject_id": row.subject_id,
        }
        for row in manifest.scans
        if row.label and row.subject_id in subjects
    ]
    if not items:
        raise ValueError(
            f"dataset_dir must hold segmented scans of the split's {part} part, {manifest.root.name!r} holds "
            "none"
        )
    return items


class FixedDataset(Dataset):
    """Items to watch a training by: what their transform draws is drawn alike each time.

    Args:
        items: some data set's; each is asked for when it is needed, so that a cache is theirs to keep.
        transform: may be random.
        seed: of what is drawn; each item has its own.
        every: takes every n-th item.
        length: draws that many times, from one item after the other; None: once from each.
        cached: items of which is kept what ``transform`` does before it first draws; a
            :class:`monai.transforms.Compose` within it counts as drawing.
    """

    def __init__(
        self,
        items: Sequence[Any],
        transform: Any,
        seed: int,
        every: int = 1,
        length: int | None = None,
        cached: int = 0,
    ) -> None:
        super().__init__(items, transform)
        self._made = CacheDataset(items, transform, cache_num=cached, progress=False) if cached else None
        self.seed, self.taken = int(seed), range(0, len(items), every)
        self.length = len(self.taken) if length is None else int(length)

    def __len__(self) -> int:
        return self.length

    def _transform(self, index: int) -> Any:
        set_rnd(self.transform, seed=epoch_seed(self.seed, 0, index))
        item = self.taken[index % len(self.taken)]
        return super()._transform(item) if self._made is None else self._made[item]

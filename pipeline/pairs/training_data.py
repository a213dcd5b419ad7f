"""From the table of volumes to what a pretraining's configuration asks for: pairs as items, and its loss."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import torch
from monai.transforms import Randomizable
from torch.utils.data import Dataset
from tqdm import tqdm

from siamed.networks.losses.contrastive import ContrastiveLoss
from siamed.networks.losses.multi_task import class_weights
from siamed.networks.losses.nt_xent import NTXentLoss
from siamed.networks.losses.siamese import SiameseLoss
from siamed.pipeline.datasets.splits import fold_parts

from .question import question_of
from .sampling import Pairs, PairSampler
from .volumes import LEVELS, VolumeTable, level_indices

__all__ = ["PairDataset", "acquisition_pairs", "drawn_pairs", "fold_table", "load_volumes", "siamese_loss"]


def fold_table(
    volumes_file: str | Path, split: str | Path, fold: int | None, part: str, sequences: Sequence[str] | None
) -> VolumeTable:
    """Volumes of one part of a split.

    Args:
        volumes_file: ``volumes.csv``.
        split: file of folds of subject ids.
        fold: the fold left out; None trains on all and watches fold 0.
        part: "training" or "validation".
        sequences: which sequences are taken; None takes all.

    Raises:
        ValueError: if the part has no volume, or a family is in two folds.
    """
    table = VolumeTable.read(volumes_file)
    chosen = table.of(fold_parts(split, fold, part), sequences)
    if not len(chosen):
        raise ValueError(f"split must name subjects with volumes, its part {part!r} has none")
    held, trained = (fold_parts(split, fold, name) for name in ("validation", "training"))
    if not set(held) & set(trained):  # without a fold left out, the watched subjects train too
        shared = set(table.of(held).families.tolist()) & set(table.of(trained).families.tolist())
        if shared:
            raise ValueError(f"split must keep families together, {sorted(shared)[0]!r} is on both sides")
    return chosen


def load_volumes(table: VolumeTable) -> torch.Tensor:
    """All volumes of a table in memory.

    Returns:
        ``(N, D, H, W)`` float16.

    Raises:
        ValueError: if the volumes differ in shape.
    """
    loaded: list[np.ndarray] = []
    for path in tqdm(table.paths(), desc="volumes", mininterval=5.0, disable=not sys.stderr.isatty()):
        volume = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj, np.float16)
        if loaded and volume.shape != loaded[0].shape:
            raise ValueError(
                f"volumes must all have one shape, {path.name} of {path.parent.name} has {volume.shape} "
                f"and the first {loaded[0].shape}"
            )
        loaded.append(volume)
    return torch.from_numpy(np.stack(loaded))


def acquisition_pairs(table: VolumeTable, sequences: Sequence[str] | None) -> Pairs:
    """The positive pairs of two sequences, or of two visits: one subject, one level, both; each once.

    Args:
        table: the volumes.
        sequences: of the first and of the second volume; None pairs a subject's first and last visit in one
            sequence.

    Raises:
        ValueError: if there is none.
    """
    columns = [table[name].tolist() for name in ("subject_id", "level", "sequence", "order")]
    rows: dict[tuple[str, ...], dict[str, int]] = {}
    for row, (subject, level, sequence, order) in enumerate(zip(*columns, strict=True)):
        if sequences is None:
            rows.setdefault((subject, level, sequence), {}).setdefault(order, row)
        else:
            rows.setdefault((subject, level), {}).setdefault(sequence, row)
    if sequences is None:
        both = [(found[min(found)], found[max(found)]) for found in rows.values() if len(found) > 1]
    else:
        first, second = sequences
        both = [(found[first], found[second]) for found in rows.values() if {first, second} <= found.keys()]
    if not both:
        what = "at two visits" if sequences is None else f"in {sequences[0]} and in {sequences[1]}"
        raise ValueError(f"table must show a subject at one level {what}, it shows none")
    one, other = np.array(both).T
    return Pairs(one, other, np.ones(len(both), bool))


def drawn_pairs(table: VolumeTable, question: str, count: int, seed: int) -> Pairs:
    """Pairs drawn once, half of them positive, to watch a training by.

    Args:
        table: the volumes.
        question: see :class:`~siamed.pipeline.pairs.sampling.PairSampler`.
        count: how many.
        seed: of the draw.
    """
    return PairSampler(table, question=question).draw(count, np.random.default_rng(seed))


class PairDataset(Dataset, Randomizable):
    """Pairs of volumes as items for a Siamese network.

    An item holds ``image`` ``(2, D, H, W)`` float, ``label`` ``(4,)`` int: same person, level, person of the
    first and of the second volume. Where another question is asked, what plays the person's part stands in
    its place, and the level is 0 where pairs share none.

    Args:
        table: the volumes.
        volumes: ``(N, D, H, W)``, a row a volume.
        transform: applied to each item.
        pairs: a fixed list of pairs; or
        sampler: where they are drawn anew whenever the random state is set, at the start of an epoch.
        length: pairs of an epoch, where they are drawn.
        positives: draw positive pairs alone, for a loss over all pairs of a batch.
        question: what is asked of a pair, see :mod:`siamed.pipeline.pairs.question`.

    Randomness: pairs and views, from ``set_random_state``.
    """

    def __init__(
        self,
        table: VolumeTable,
        volumes: torch.Tensor,
        transform: Callable[[Any], Mapping[Any, Any]],
        pairs: Pairs | None = None,
        sampler: PairSampler | None = None,
        length: int = 0,
        positives: bool = False,
        question: str = "same_person",
    ) -> None:
        if (pairs is None) == (sampler is None):
            raise ValueError(
                "either pairs or sampler must be given, got " + ("neither" if pairs is None else "both")
            )
        self.volumes, self.transform, self.sampler = volumes, transform, sampler
        self.length, self.positives = len(pairs) if pairs else length, positives
        asked = question_of(question)
        self.level, self.person = asked.levels(table), asked.identities(table)
        self._pairs = pairs

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> PairDataset:
        """Seed pairs and views; pairs are drawn anew."""
        super().set_random_state(seed, state)
        if self.sampler is not None:
            self._pairs = None
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(state=self.R)
        return self

    @property
    def pairs(self) -> Pairs:
        """The pairs of this epoch."""
        if self._pairs is None and self.sampler is not None:
            draw = self.sampler.draw_positives if self.positives else self.sampler.draw
            self._pairs = draw(self.length, np.random.default_rng(self.R.randint(2**31)))
        return cast(Pairs, self._pairs)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Mapping[Any, Any]:
        pairs = self.pairs
        rows = [int(pairs.first[index]), int(pairs.second[index])]
        label = [int(pairs.same[index]), int(self.level[rows[0]]), *self.person[rows].tolist()]
        return self.transform({"image": self.volumes[rows].float(), "label": torch.tensor(label)})


def siamese_loss(
    table: VolumeTable,
    same_person: ContrastiveLoss | NTXentLoss,
    level_weight: float,
    balance_power: float,
    levels: int,
    embedding: int,
    all_pairs: bool,
) -> SiameseLoss:
    """The loss, with class weights of the levels counted on the training volumes.

    Args:
        table: volumes of the training part.
        same_person: see :class:`~siamed.networks.losses.siamese.SiameseLoss`.
        level_weight: see there.
        balance_power: see :func:`~siamed.networks.losses.multi_task.class_weights`.
        levels: classes of the network: the first of :data:`~siamed.pipeline.pairs.volumes.LEVELS`; 0 where
            it tells none.
        embedding: see :class:`~siamed.networks.losses.siamese.SiameseLoss`.
        all_pairs: see there.

    Raises:
        ValueError: if the table holds a level that the network has no class for.
    """
    if not levels:
        return SiameseLoss(same_person, [], 0.0, embedding, all_pairs)
    found = level_indices(table)
    if found.max() >= levels:
        raise ValueError(
            f"levels must be {len(LEVELS)} for a table that holds {LEVELS[found.max()]}, got {levels}: give "
            f"--hparams#levels {len(LEVELS)}"
        )
    weights = class_weights(found, levels, balance_power)
    return SiameseLoss(same_person, weights, level_weight, embedding, all_pairs)

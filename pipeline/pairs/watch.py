"""Is a pretraining learning something of use: handlers that look at the encoder between epochs.

:class:`GradeProbe` asks how well the trunk's features tell a grade that nobody trained on: the vote of the
nearest labelled discs [wu2018instance], on validation patients. :class:`HardNegatives` lets a sampler know
the encoder as it is, so that it can pick the nearest of several other persons. Whether embeddings have
collapsed is watched for any pretraining: :mod:`siamed.pipeline.experiments.health`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.distributed import unwrap_network
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.metrics import balanced_accuracy
from siamed.pipeline.grading.tasks import MISSING
from siamed.transforms.rand_volume_view import VolumeView, apply_volume_views

from .sampling import PairSampler

__all__ = ["GradeProbe", "HardNegatives", "probe_accuracy"]

_BATCH = 64
_NEIGHBORS = 15


class GradeProbe:
    """Log ``knn_<task>``: balanced accuracy of a grade, told by the nearest discs of the training patients.

    Args:
        network: has a ``trunk``.
        crops_file: graded disc crops; None looks at nothing.
        split: file of folds.
        fold: as in the training.
        hparams: of the training: slices, and how many pixels of a volume one pixel of the input covers.
        sequences: scans whose discs are looked at.
        task: the grade.

    Raises:
        ValueError: if a part of the split has no graded disc.
    """

    def __init__(
        self,
        network: nn.Module,
        crops_file: str | Path | None,
        split: str | Path,
        fold: int | None,
        hparams: dict[str, Any],
        sequences: Sequence[str] = ("T2",),
        task: str = "pfirrmann",
    ) -> None:
        self.network, self.task = network, task
        self._parts: list[tuple[torch.Tensor, np.ndarray]] = []
        if crops_file is None:
            return
        crops = DiscCrops.load(crops_file)
        for part in ("training", "validation"):
            own = crops.of(fold_parts(split, fold, part), sequences)
            grades = own.grades[:, own.tasks.index(task)]
            if not (grades != MISSING).any():
                raise ValueError(
                    f"probe_crops must hold graded discs of the split's {part} part, it holds none"
                )
            known = grades != MISSING
            self._parts.append((_seen(own.images[known], hparams), grades[known]))

    def attach(self, engine: Any) -> None:
        """Register on an evaluator; list it before the record of the run."""
        if self._parts:
            engine.add_event_handler(Events.COMPLETED, self._probe)

    def _probe(self, evaluator: Any) -> None:
        (known, grades), (new, truth) = ((self._features(seen), grades) for seen, grades in self._parts)
        evaluator.state.metrics[f"knn_{self.task}"] = probe_accuracy(known, grades, new, truth)

    @torch.no_grad()
    def _features(self, seen: torch.Tensor) -> np.ndarray:
        trunk = unwrap_network(self.network).get_submodule("trunk")
        was_training, device = trunk.training, next(trunk.parameters()).device
        trunk.eval()
        parts = [
            trunk(seen[i : i + _BATCH, None].to(device)).float().flatten(2).mean(-1)
            for i in range(0, len(seen), _BATCH)
        ]
        trunk.train(was_training)
        return torch.cat(parts).cpu().numpy()


def probe_accuracy(
    known: np.ndarray, grades: np.ndarray, new: np.ndarray, truth: np.ndarray, neighbors: int = _NEIGHBORS
) -> float:
    """Balanced accuracy of the vote of the nearest known features by cosine, nearer ones counting more.

    Args:
        known: ``(N, F)``.
        grades: ``(N,)`` of the known.
        new: ``(M, F)``.
        truth: ``(M,)``.
        neighbors: how many vote.
    """
    vote = KNeighborsClassifier(min(neighbors, len(known)), weights="distance", metric="cosine")
    return balanced_accuracy(truth, vote.fit(known, grades).predict(new))


class HardNegatives:
    """Embed the training volumes at the start of an epoch, for a sampler that picks the nearest negative.

    Does nothing where the sampler draws a single candidate. Deterministic, so that a resumed training draws
    what an uninterrupted one draws.

    Args:
        sampler: learns the embeddings.
        network: a :class:`~siamed.networks.siamese_vgg_m.SiameseVGGM`, the embedding first in its output.
        volumes: ``(N, D, H, W)``, a row a volume of the sampler's table.
        hparams: of the training: field_px, input_size, embedding.
        every: epochs from one embedding to the next.
    """

    def __init__(
        self,
        sampler: PairSampler,
        network: nn.Module,
        volumes: torch.Tensor,
        hparams: dict[str, Any],
        every: int = 1,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.sampler, self.network, self.volumes = sampler, network, volumes
        self.hparams, self.every = hparams, int(every)

    def attach(self, engine: Any) -> None:
        """Register on a trainer; list it after the checkpoints."""
        if self.sampler.candidates > 1:
            engine.add_event_handler(Events.EPOCH_STARTED, self._embed)

    @torch.no_grad()
    def _embed(self, engine: Any) -> None:
        # After a resume the sampler knows nothing yet, whatever the epoch.
        if (engine.state.epoch - 1) % self.every and self.sampler.has_learned:
            return
        network = unwrap_network(self.network)
        was_training, device = network.training, next(network.parameters()).device
        network.eval()
        field, size, entries = (self.hparams[name] for name in ("field_px", "input_size", "embedding"))
        parts = []
        for start in range(0, len(self.volumes), _BATCH):
            some = self.volumes[start : start + _BATCH].float().to(device)
            seen = apply_volume_views(some, [VolumeView()] * len(some), field, size)
            parts.append(network(seen[:, None].expand(-1, 2, -1, -1, -1))[:, 0, :entries].float().cpu())
        network.train(was_training)
        self.sampler.learn(torch.cat(parts).numpy())


def _seen(images: np.ndarray, hparams: dict[str, Any]) -> torch.Tensor:
    """Middle slices of crops at the pixel size of the pretraining, ``(N, slices, h, w)``."""
    first = (images.shape[1] - hparams["slices"]) // 2
    middle = torch.from_numpy(images[:, first : first + hparams["slices"]])
    field = [int(n) for n in middle.shape[2:]]
    pixel = [f / s for f, s in zip(hparams["field_px"], hparams["input_size"], strict=True)]
    size = [round(n / p) for n, p in zip(field, pixel, strict=True)]
    return apply_volume_views(middle, [VolumeView()] * len(middle), field, size)

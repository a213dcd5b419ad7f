"""Do the features of a pretraining know an organ that nobody told it about?

A logistic regression tells from the trunk's features alone, cell by cell, where a structure is: fitted on a
few training patients' label maps, scored on the watched patients'. It looks at what is there, and trains
nothing; a rise says that the task asks for anatomy, a fall that it asks for something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import CacheDataset
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from siamed.networks.slab_unet import slabs
from siamed.pipeline.experiments.distributed import unwrap_network
from siamed.pipeline.segmentation.preprocessing import preprocessing
from siamed.pipeline.segmentation.training_data import labelled_items

__all__ = ["StructureProbe", "cells"]

_PATIENTS = 4  # of each part: a look, no measurement
_BATCH = 32
_LEVEL = -2  # of the trunk's features: the bottom's cells are as large as organs


class StructureProbe:
    """Log ``probe_auc``: how well the trunk's features tell a structure, on watched patients.

    Args:
        network: has a ``trunk``, a U-Net's encoder over slabs.
        dataset_dir: scans with label maps; None looks at nothing.
        labels: values of the label maps that are the structure.
        split: file of folds.
        fold: as in the training.
        hparams: of the training.

    Raises:
        ValueError: if a part of the split has no labelled scan, or the trunk is no 2-D one.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset_dir: str | Path | None,
        labels: Sequence[int],
        split: str | Path | None,
        fold: int | None,
        hparams: Mapping[str, Any],
    ) -> None:
        self.network = network
        self._parts: list[CacheDataset] = []
        if dataset_dir is None:
            return
        if split is None:
            raise ValueError("split must be given for a probe: its patients must be those that are watched")
        if hparams["spatial_dims"] != 2:
            raise ValueError(
                f"spatial_dims must be 2 for a probe of slabs, got {hparams['spatial_dims']}: leave it out"
            )
        self._slices = int(hparams["in_channels"])
        prepare = preprocessing(hparams, labels, least=hparams["crop"])
        for part in ("training", "validation"):
            items = labelled_items(dataset_dir, split, fold, part)[:_PATIENTS]
            self._parts.append(CacheDataset(items, prepare, progress=False))

    def attach(self, engine: Any) -> None:
        """Register on an evaluator; list it before the record of the run."""
        if self._parts:
            engine.add_event_handler(Events.COMPLETED, self._probe)

    def _probe(self, evaluator: Any) -> None:
        trunk = unwrap_network(self.network).get_submodule("trunk")
        was_training = trunk.training
        trunk.eval()
        (known, truth), (new, wanted) = (self._cells(trunk, part) for part in self._parts)
        trunk.train(was_training)
        if len(np.unique(truth)) < 2 or len(np.unique(wanted)) < 2:
            evaluator.state.metrics["probe_auc"] = float("nan")
            return
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, class_weight="balanced"))
        score = probe.fit(known, truth).decision_function(new)
        evaluator.state.metrics["probe_auc"] = float(roc_auc_score(wanted, score))

    @torch.no_grad()
    def _cells(self, trunk: nn.Module, volumes: CacheDataset) -> tuple[np.ndarray, np.ndarray]:
        device = next(trunk.parameters()).device
        found = []
        for place in range(len(volumes)):
            image, label = (volumes[place][key].as_tensor()[None].float() for key in ("image", "label"))
            seen = slabs(image, self._slices).to(device)
            features = torch.cat([trunk(part)[_LEVEL].float().cpu() for part in seen.split(_BATCH)])
            found.append(cells(features, label[0].transpose(0, 1)))
        parts = zip(*found, strict=True)
        return tuple(np.concatenate(part) for part in parts)  # type: ignore[return-value]


def cells(features: torch.Tensor, label: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features of each cell, and whether the structure fills half of it or more.

    Args:
        features: ``(N, E, h, w)``.
        label: ``(N, 1, H, W)``, 1 in the structure; H and W multiples of h and w.

    Returns:
        ``(N h w, E)`` and ``(N h w,)`` bool.
    """
    share = functional.adaptive_avg_pool2d(label, (features.shape[2], features.shape[3]))
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.numpy(), (share.flatten() >= 0.5).numpy()

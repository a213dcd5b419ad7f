"""Embeddings as a MONAI evaluator makes them: volumes of a folder in, one file out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import nn

from siamed.pipeline.experiments.files import write_npz
from siamed.transforms.rand_volume_view import VolumeView, apply_volume_views

from .volumes import LEVELS

__all__ = ["EmbeddingInferer", "SaveEmbeddings", "WholeVolumeInferer"]

log = logging.getLogger(__name__)


class EmbeddingInferer(Inferer):
    """Embed vertebral bodies or discs ``(B, 1, D, H, W)``, D odd or the network's own number of slices.

    Args:
        hparams: of the bundle: slices, field_px, input_size.

    Returns:
        ``(B, E + K)``: embeddings and level scores.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.slices = int(hparams["slices"])
        self.field_px, self.input_size = tuple(hparams["field_px"]), tuple(hparams["input_size"])

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if inputs.ndim != 5 or inputs.shape[1] != 1 or inputs.shape[2] < self.slices:
            raise ValueError(
                f"inputs must be (B, 1, at least {self.slices}, H, W), got {tuple(inputs.shape)}"
            )
        start = (inputs.shape[2] - self.slices) // 2
        middle = torch.as_tensor(inputs)[:, 0, start : start + self.slices]
        seen = apply_volume_views(middle, [VolumeView()] * len(middle), self.field_px, self.input_size)
        # The network takes pairs: a volume beside itself.
        return network(seen[:, None].expand(-1, 2, -1, -1, -1))[:, 0]


class WholeVolumeInferer(Inferer):
    """Embed a batch of volumes ``(B, 1, D, H, W)`` as they are, of the size that the network takes.

    Returns:
        ``(B, E)``.
    """

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        # The network takes pairs: a volume beside itself.
        return network(torch.as_tensor(inputs).expand(-1, 2, -1, -1, -1))[:, 0]


class SaveEmbeddings:
    """Gather the embeddings of all volumes in ``embeddings.npz``.

    The file holds ``name (N,)`` and ``embedding (N, E)`` float32; of a network that tells levels also
    ``level (N,)``, the likeliest level, and ``level_probability (N,)``.

    Args:
        output_dir: folder, made if missing.
        embedding: E, entries of an embedding in the network's output.
    """

    def __init__(self, output_dir: str | Path, embedding: int) -> None:
        self.folder, self.embedding = Path(output_dir), int(embedding)
        self._names: list[str] = []
        self._outputs: list[torch.Tensor] = []

    def attach(self, engine: Any) -> None:
        """Register on an evaluator."""
        from ignite.engine import Events  # embedding a scan needs no engine

        engine.add_event_handler(Events.ITERATION_COMPLETED, self._gather)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _gather(self, engine: Any) -> None:
        self._names += engine.state.batch["name"]
        self._outputs.append(engine.state.output["pred"].detach().float().cpu())

    def _write(self, engine: Any) -> None:
        outputs = torch.cat(self._outputs)
        content = {"name": np.array(self._names), "embedding": outputs[:, : self.embedding].numpy()}
        if outputs.shape[1] > self.embedding:
            probability, level = outputs[:, self.embedding :].softmax(1).max(1)
            content["level"] = np.array(LEVELS)[level.numpy()]
            content["level_probability"] = probability.numpy()
        write_npz(self.folder / "embeddings.npz", content)
        log.info("%d embeddings written", len(self._names))

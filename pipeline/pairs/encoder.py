"""The Siamese encoder as a user calls it: vertebral bodies in, embeddings out, and two scans compared.

A distance alone says little; the bundle's ``configs/calibration.json`` turns it into the probability that two
bodies of one level, or two columns, are one person's, where both answers were as likely beforehand. It was
fitted on pairs of patients whom the network had not seen
(:func:`~siamed.pipeline.pairs.calibration.fit_calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from siamed.pipeline.experiments.files import read_npz, write_npz

from .calibration import Calibration
from .inference import EmbeddingInferer
from .volumes import BODY_LEVELS, MIN_COLUMN

__all__ = ["BodyEncoder", "Comparison", "Embeddings", "LevelComparison", "compare_embeddings"]

_BATCH = 64


@dataclass(frozen=True)
class Embeddings:
    """Embedded bodies of one scan; all arrays have one entry a body.

    Args:
        level: ``(N,)`` names; empty where the detector gave none.
        embedding: ``(N, E)`` float32.
        sequence: of the scan.
        encoder: SHA-256 of the weights: embeddings of two encoders cannot be compared.
    """

    level: np.ndarray
    embedding: np.ndarray = field(repr=False)
    sequence: str
    encoder: str

    def save(self, path: str | Path) -> Path:
        """Write ``embeddings.npz``, whole or not at all."""
        content = {
            "level": self.level.astype(str),
            "embedding": self.embedding.astype(np.float32),
            "sequence": np.array(self.sequence),
            "encoder": np.array(self.encoder),
        }
        return write_npz(path, content)

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if the file holds something else.
        """
        arrays = read_npz(path, [entry.name for entry in fields(cls)], "embeddings")
        return cls(arrays["level"], arrays["embedding"], str(arrays["sequence"]), str(arrays["encoder"]))


@dataclass(frozen=True)
class LevelComparison:
    """Two bodies of one level: their distance and the probability that they are one person's."""

    level: str
    distance: float
    probability: float


@dataclass(frozen=True)
class Comparison:
    """Two scans.

    Args:
        levels: those that both show, from superior to inferior.
        distance: mean over the levels; None where they share fewer than ``MIN_COLUMN``.
        probability: that both are of one person, by that mean.
        warnings: what a reader must know.
    """

    levels: tuple[LevelComparison, ...]
    distance: float | None
    probability: float | None
    warnings: tuple[str, ...] = ()


class BodyEncoder:
    """Embed vertebral bodies.

    Args:
        network: a :class:`~siamed.networks.siamese_vgg_m.SiameseVGGM`.
        hparams: of its bundle.
        sha256: of its weights.
        calibration: from distances to probabilities; None where the bundle has none.
        device: where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        hparams: Mapping[str, Any],
        sha256: str,
        calibration: Calibration | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.embedding, self.sha256, self.calibration = int(hparams["embedding"]), sha256, calibration
        self._infer = EmbeddingInferer(hparams)

    @classmethod
    def from_bundle(cls, bundle: str | Path, device: str | torch.device = "cpu") -> BodyEncoder:
        """Load network, weights, settings and calibration from a bundle (its name, or its folder)."""
        from siamed.pipeline.bundles import bundle_hparams, bundle_info, bundle_path, load_network

        file = bundle_path(bundle) / "configs" / "calibration.json"
        calibration = Calibration.read(file) if file.is_file() else None
        sha256 = bundle_info(bundle)["sha256"]
        return cls(load_network(bundle), bundle_hparams(bundle), sha256, calibration, device)

    @torch.inference_mode()
    def __call__(self, volumes: torch.Tensor) -> np.ndarray:
        """Embed volumes ``(N, 1, D, H, W)`` of :class:`siamed.transforms.ExtractVertebralBody`.

        Returns:
            ``(N, E)`` float32.
        """
        parts = [
            self._infer(volumes[start : start + _BATCH].float().to(self.device), self.network)
            for start in range(0, len(volumes), _BATCH)
        ]
        if not parts:
            return np.zeros((0, self.embedding), np.float32)
        return torch.cat(parts)[:, : self.embedding].float().cpu().numpy()


def compare_embeddings(one: Embeddings, other: Embeddings, calibration: Calibration) -> Comparison:
    """Are two scans of one person?

    Args:
        one: of the first scan.
        other: of the second.
        calibration: of the encoder that embedded both.

    Raises:
        ValueError: if they were embedded by two encoders, or share no named level.
    """
    if one.encoder != other.encoder:
        raise ValueError(
            f"both scans must be embedded by one encoder, got {one.encoder[:12]} and {other.encoder[:12]}"
        )
    places = [{str(name): i for i, name in enumerate(e.level)} for e in (one, other)]
    shared = [name for name in BODY_LEVELS if all(name in place for place in places)]
    if not shared:
        raise ValueError(
            f"both scans must show a level in common, the first has {_names(one)} and the second "
            f"{_names(other)}"
        )
    gaps = [
        float(np.linalg.norm(one.embedding[places[0][name]] - other.embedding[places[1][name]]))
        for name in shared
    ]
    levels = tuple(
        LevelComparison(name, gap, calibration.of_level(gap)) for name, gap in zip(shared, gaps, strict=True)
    )
    enough = len(shared) >= MIN_COLUMN
    mean = float(np.mean(gaps))
    return Comparison(
        levels,
        mean if enough else None,
        calibration.of_column(mean) if enough else None,
        tuple(_warnings(one.sequence, other.sequence, len(shared), calibration)),
    )


def _names(embeddings: Embeddings) -> str:
    return ", ".join(name for name in embeddings.level.tolist() if name) or "none"


def _warnings(first: str, second: str, shared: int, calibration: Calibration) -> Sequence[str]:
    said = []
    if shared < MIN_COLUMN:
        said.append(f"Only {shared} levels in common: the column as a whole is judged from {MIN_COLUMN} on.")
    if {first, second} != set(calibration.sequences):
        pair = " and ".join(calibration.sequences)
        said.append(
            f"The probabilities were calibrated on {pair} of one visit, these scans are {first} and {second}."
        )
    return said

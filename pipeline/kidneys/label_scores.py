"""Score a kidney network's held-out patients for an experiment that compares arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage

from siamed.pipeline.bundles import run_network
from siamed.pipeline.datasets.image_label_folder import segmentation_manifest
from siamed.pipeline.segmentation.inference import Segmenter
from siamed.pipeline.segmentation.metrics import dice
from siamed.transforms.split_kidneys import LEFT, RIGHT, split_kidneys

from .sides import kidneys_of, midline_of

__all__ = ["KidneyScorer"]


class KidneyScorer:
    """Dice of each kidney on the scan's own grid, sides told by place in the patient.

    Args:
        dataset_dir: scans with label maps.
        labels: values of the label maps that are kidney, or belong to one.
    """

    measure = "Dice"
    parts = ("mean of both kidneys", "right kidney", "left kidney")

    def __init__(self, dataset_dir: str | Path, labels: Sequence[int]) -> None:
        self.dataset_dir, self.labels = str(dataset_dir), [int(label) for label in labels]

    def statistics(self, run: Path, subjects: Sequence[str]) -> dict[str, np.ndarray]:
        """For each subject sums of Dice and numbers of kidneys, ``(3, 2)``.

        Args:
            run: folder of a training.
            subjects: who is scored.
        """
        network, hparams = run_network(run)
        segmenter, load = Segmenter(network, hparams), LoadImage(ensure_channel_first=True)
        manifest = segmentation_manifest(self.dataset_dir)
        found: dict[str, np.ndarray] = {}
        for scan in manifest.scans:
            if scan.subject_id not in subjects or not scan.label:
                continue
            image, label = (load(manifest.root / path) for path in (scan.image, scan.label))
            sums = found.setdefault(scan.subject_id, np.zeros((3, 2)))
            sums += self._sums(segmenter(image), image, label)
        return found

    def _sums(self, probability: np.ndarray, image: MetaTensor, label: MetaTensor) -> np.ndarray:
        affine = np.asarray(image.affine, float)
        midline = midline_of(image.as_tensor()[0].numpy(), affine)
        mask = np.isin(label.as_tensor()[0].numpy(), self.labels)
        truth = split_kidneys(mask, affine, midline).labels
        said = kidneys_of(probability, affine, midline).labels
        scores = [dice(said == side, truth == side) for side in (RIGHT, LEFT)]
        return np.array([[sum(scores), 2], [scores[0], 1], [scores[1], 1]], float)

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """Mean Dice, from sums ``(..., 2)``: ``(...)``."""
        summed = np.asarray(summed, float)
        return summed[..., 0] / summed[..., 1]

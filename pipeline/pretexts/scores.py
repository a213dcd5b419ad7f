"""How well a self-supervised task is solved on held-out patients, beside chance. Contract:

accuracy
    share of items whose class is named rightly; chance is one in the number of classes.
explained
    ``1 - E / E0`` with E the summed absolute error of the answers and E0 that of the best constant one: the
    mean of the pixels that were left to see (of all, where none was hidden), or no offset. 1 is perfect, 0 is
    chance.
retrieval
    share of views, or of regions of a view, whose nearest neighbor by cosine is their own partner; chance is
    one in the number of candidates: the other views of the batch, the regions of the image's other view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from torch import nn
from torch.nn import functional

__all__ = [
    "Accuracy",
    "OffsetExplained",
    "PixelsExplained",
    "PretextMetric",
    "RegionRetrieval",
    "Retrieval",
    "Score",
    "heatmap_offset",
]


class Score(Protocol):
    """How one task is scored."""

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Of a batch ``(B, 2)``, or a row for each answer: what adds up to the score, and to chance."""
        ...

    def score(self, rows: torch.Tensor) -> torch.Tensor:
        """Of all rows ``(N, 2)``: higher is better, at most 1."""
        ...

    def chance(self, rows: torch.Tensor) -> torch.Tensor:
        """What somebody who looks at nothing gets."""
        ...


class _Shares:
    """Rows hold whether an answer is right, and how probable that is by chance."""

    def score(self, rows: torch.Tensor) -> torch.Tensor:
        """Share of right answers."""
        return rows[:, 0].mean()

    def chance(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean probability of a right answer by chance."""
        return rows[:, 1].mean()


class _Errors:
    """Rows hold the error of an answer, and of the constant one."""

    def score(self, rows: torch.Tensor) -> torch.Tensor:
        """Share of the constant answer's error that is explained."""
        return 1 - rows[:, 0].sum() / rows[:, 1].sum()

    def chance(self, rows: torch.Tensor) -> torch.Tensor:
        """Always 0."""
        return torch.zeros(())


class Accuracy(_Shares):
    """Accuracy; pred ``(B, classes)``, label ``(B,)``."""

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Rows of the contract."""
        right = (pred.argmax(1) == label.to(pred.device)).float()
        return torch.stack([right, torch.full_like(right, 1 / pred.shape[1])], dim=1)


class PixelsExplained(_Errors):
    """Error explained at the pixels that were hidden.

    Shape:
        - pred ``(B, C, ...)``; label ``(B, C + 1, ...)``, the mask of the hidden ones last, or
          ``(B, C, ...)`` where every pixel is asked for.
    """

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Rows of the contract."""
        channels = pred.shape[1]
        image = label[:, :channels].to(pred.device)
        hidden = label[:, channels:].to(pred.device)
        if not hidden.shape[1]:
            hidden = torch.ones_like(image[:, :1])
        seen = 1 - hidden
        seen = torch.where(seen.flatten(1).any(1).view(-1, *[1] * (seen.ndim - 1)), seen, hidden)
        space = tuple(range(2, image.ndim))
        mean = (image * seen).sum(space, keepdim=True) / seen.sum(space, keepdim=True)
        errors = [((answer - image).abs() * hidden).flatten(1).sum(1) for answer in (pred.float(), mean)]
        return torch.stack(errors, dim=1)


def heatmap_offset(heatmap: torch.Tensor) -> torch.Tensor:
    """Where the peak of heatmaps lies, as a share of the largest offset.

    Args:
        heatmap: ``(B, 1, rows, columns)``.

    Returns:
        ``(B, 2)`` in [-1, 1], rows and columns; see
        :func:`~siamed.transforms.rand_offset_patches.heatmap_center`.
    """
    rows, columns = heatmap.shape[2:]
    peak = heatmap.flatten(1).argmax(1)
    middle = [(n - 1) / 2 for n in (rows, columns)]
    return torch.stack([peak // columns / middle[0] - 1, peak % columns / middle[1] - 1], dim=1)


class OffsetExplained(_Errors):
    """Distance explained; pred and label ``(B, 2)``, or heatmaps of offsets ``(B, 1, rows, columns)``."""

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Rows of the contract."""
        label = label.to(pred.device)
        if pred.ndim == 4:
            pred, label = heatmap_offset(pred), heatmap_offset(label)
        return torch.stack([(pred - label).norm(dim=1), label.norm(dim=1)], dim=1)


class Retrieval(_Shares):
    """Whether the nearest view is the partner; pred ``(B, 2, E)``."""

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Rows of the contract, one a view."""
        unit = functional.normalize(pred.float().flatten(0, 1), dim=1)
        similarity = (unit @ unit.T).fill_diagonal_(-2)
        place = torch.arange(len(unit), device=unit.device)
        right = (similarity.argmax(1) == place ^ 1).float()  # partners are neighbors
        return torch.stack([right, torch.full_like(right, 1 / max(1, len(unit) - 1))], dim=1)


class RegionRetrieval(_Shares):
    """Whether the nearest region of the other view is the same region; pred ``(B, 2, E, ...)``.

    Args:
        regions: of the grid, as :class:`~siamed.networks.losses.local_contrastive.LocalContrastiveLoss`.
    """

    def __init__(self, regions: Sequence[int]) -> None:
        pool = nn.AdaptiveAvgPool2d if len(regions) == 2 else nn.AdaptiveAvgPool3d
        self.pool = pool(tuple(int(n) for n in regions))

    def rows(self, pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Rows of the contract, one a region of the first view."""
        pooled = self.pool(pred.float().flatten(0, 1)).flatten(2)  # (B 2, E, R)
        means = functional.normalize(pooled, dim=1).unflatten(0, (-1, 2))
        nearest = torch.einsum("ber,bes->brs", means[:, 0], means[:, 1]).argmax(2)
        right = (nearest == torch.arange(nearest.shape[1], device=nearest.device)).float().flatten()
        return torch.stack([right, torch.full_like(right, 1 / nearest.shape[1])], dim=1)


class _Cumulated(CumulativeIterationMetric):
    def __init__(self, of: Score, what: str) -> None:
        super().__init__()
        self.of, self.what = of, what

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return self.of.rows(y_pred.detach(), y)

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """The figure over all answers; nan where there is none."""
        rows = self.get_buffer()
        return torch.tensor(float("nan")) if rows is None else getattr(self.of, self.what)(rows)


class PretextMetric(IgniteMetricHandler):
    """A score, or its chance level, for a MONAI evaluator that leaves batches whole.

    Args:
        of: how the task is scored.
        what: "score" or "chance".
    """

    def __init__(self, of: Score, what: str = "score") -> None:
        if what not in ("score", "chance"):
            raise ValueError(f"what must be 'score' or 'chance', got {what!r}")
        super().__init__(
            metric_fn=_Cumulated(of, what),
            output_transform=from_engine(["pred", "label"]),
            save_details=False,
        )

"""SpineNet's average of 54 looks at a disc, one by one or most of them in one pass.

The disc's middle and its eight neighbors 16 pixels away, each also with its slices in reverse order, each
also with the window of slices moved by one to either side: 9 x 2 x 3
[jamaludin2016spinenet, Data augmentation].

:func:`paper_views` lists them for :class:`~siamed.pipeline.grading.DiscGrader`, which cuts each look out and
sends it through the network: *exact*. :func:`dense_probabilities` sends the enlarged field through the
convolutions once for each window and order of the slices, and takes the nine looks from the cells of Conv5,
whose stride is the shift: *dense*. Both average probabilities. They differ at the borders of a look: where a
cut picture is padded with zeros before each convolution, the dense one sees what lies there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.transforms.rand_volume_view import VolumeView, apply_volume_view

if TYPE_CHECKING:
    from .grader import DiscGrader

__all__ = ["dense_field", "dense_probabilities", "paper_views"]

View = tuple[float, float, float, int, bool]


def paper_views(
    shift_px: float = 16.0, windows: Sequence[int] = (-1, 0, 1), reflected: Sequence[bool] = (False, True)
) -> list[View]:
    """The looks of SpineNet, 54 by default, as a grader takes them.

    Args:
        shift_px: of the eight neighbors, in pixels of the volume.
        windows: by how many slices the window is moved.
        reflected: orders of the slices.
    """
    shifts = (-shift_px, 0.0, shift_px)
    return [(1.0, y, x, w, r) for w in windows for r in reflected for y in shifts for x in shifts]


def dense_field(grader: DiscGrader) -> tuple[int, int]:
    """Rows and columns that a dense pass sees: the grader's field and a cell of Conv5 around it."""
    stride = cast(MultiTaskVGGM, grader.network).stride
    rows, columns = (
        round(f + 2 * stride * f / s) for f, s in zip(grader.field_px, grader.input_size, strict=True)
    )
    return rows, columns


@torch.inference_mode()
def dense_probabilities(
    grader: DiscGrader,
    volumes: torch.Tensor,
    windows: Sequence[int] = (-1, 0, 1),
    reflected: Sequence[bool] = (False, True),
) -> list[torch.Tensor]:
    """Probabilities of each task, ``(N, classes)``, averaged over nine shifts, windows and orders of slices.

    A network of one slice sees no order: its reflections are left out.

    Args:
        grader: of a :class:`~siamed.networks.vgg_m.MultiTaskVGGM`; its own views are not used.
        volumes: ``(N, 1, D, H, W)`` with one cell of Conv5 of margin around the grader's field.
        windows: by how many slices the window is moved.
        reflected: orders of the slices.

    Raises:
        ValueError: if the volumes have no such margin, or a window leaves them.
    """
    field = dense_field(grader)
    if any(n < f for n, f in zip(volumes.shape[3:], field, strict=True)):
        raise ValueError(f"volumes must be (N, 1, D, H, W) of {field} pixels, got {tuple(volumes.shape)}")
    network = cast(MultiTaskVGGM, grader.network)
    size = [n + 2 * network.stride for n in grader.input_size]
    orders = reflected if grader.slices > 1 else reflected[:1]
    total, looks = torch.zeros(len(volumes), sum(grader.classes), device=grader.device), 0
    for shift in windows:
        for order in orders:
            window = grader.window(volumes, shift, order)
            seen = apply_volume_view(window.flatten(0, 1), VolumeView(), field, size)
            scores = network.shifted_scores(seen.view(len(window), 1, grader.slices, *size))
            total += grader.softmax(scores.float()).sum(1)
            looks += scores.shape[1]
    return list((total / looks).cpu().split(grader.classes, dim=1))

"""From disc crops to what a training's configuration asks for: items and the loss balanced on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siamed.networks.losses.multi_task import MultiTaskLoss, class_weights
from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.tasks import loss_weights

from .crops import DiscCrops
from .tasks import class_counts, class_indices

__all__ = ["balanced_loss", "crop_items", "with_mean"]


def crop_items(
    crops: DiscCrops,
    split: str | Path,
    fold: int | None,
    part: str,
    sequences: Sequence[str],
    tasks: Sequence[str],
) -> list[dict[str, Any]]:
    """One part of a split as items for transforms.

    Args:
        crops: all crops.
        split: file of folds of subject ids.
        fold: the fold left out; None trains on all and watches fold 0.
        part: "training" or "validation".
        sequences: which sequences are taken.
        tasks: which tasks, in the order of the network's scores.

    Returns:
        Items with image ``(1, D, H, W)`` float16, label ``(T,)`` class indices, subject, case_id, disc.

    Raises:
        ValueError: if the part has no disc.
    """
    chosen = crops.of(fold_parts(split, fold, part), sequences)
    if not len(chosen):
        raise ValueError(f"split must name subjects with crops, its part {part!r} has none")
    items = []
    for index in range(len(chosen)):
        values = zip(chosen.tasks, chosen.grades[index].tolist(), strict=True)
        grades = {task: int(grade) for task, grade in values if grade >= 0}
        items.append(
            {
                "image": torch.from_numpy(np.ascontiguousarray(chosen.images[index]))[None],
                "label": torch.tensor(class_indices(grades, tasks)),
                "subject": str(chosen.subjects[index]),
                "case_id": str(chosen.cases[index]),
                "disc": int(chosen.discs[index]),
            }
        )
    return items


def balanced_loss(
    items: Sequence[dict[str, Any]],
    tasks: Sequence[str],
    balance_power: float | Sequence[float],
    task_weights: Sequence[float] | None,
    softness: Sequence[float],
) -> MultiTaskLoss:
    """The loss, with class weights counted on the training items.

    Args:
        items: of :func:`crop_items`, the training part alone.
        tasks: as in the items.
        balance_power: see :func:`siamed.networks.losses.multi_task.class_weights`; one for all tasks, or one
            for each.
        task_weights: weight of each task; None takes those of the tasks' set.
        softness: see :class:`siamed.networks.losses.multi_task.MultiTaskLoss`.
    """
    labels = torch.stack([item["label"] for item in items]).numpy()
    classes = class_counts(tasks)
    powers = [balance_power] * len(classes) if isinstance(balance_power, int | float) else balance_power
    if len(powers) != len(classes):
        raise ValueError(f"balance_power must be one, or one for each of {list(tasks)}, got {balance_power}")
    weights = [
        class_weights(labels[:, t], count, power)
        for t, (count, power) in enumerate(zip(classes, powers, strict=True))
    ]
    return MultiTaskLoss(classes, weights, task_weights or loss_weights(tasks), softness)


def with_mean(
    network: MultiTaskVGGM, items: Sequence[dict[str, Any]], field_px: Sequence[int], subtract_mean: bool
) -> MultiTaskVGGM:
    """The network with the mean of each slice of its training volumes, to be taken from what it is given.

    Args:
        network: changed in place.
        items: of :func:`crop_items`, the training part alone.
        field_px: (rows, columns) of a crop that the centered view covers; its margin does not count.
        subtract_mean: False leaves the network as it is.
    """
    if subtract_mean:
        rows, columns = items[0]["image"].shape[-2:]
        top, left = (rows - field_px[0]) // 2, (columns - field_px[1]) // 2
        inside = (..., slice(top, top + field_px[0]), slice(left, left + field_px[1]))
        total = sum(item["image"][0][inside].double().mean((-2, -1)) for item in items)
        network.mean.copy_(torch.as_tensor(total) / len(items))
    return network

"""What a segmenting network is shown: one orientation, one spacing, one range [dhere2021, Sec. 3.2].

Axes of the canonical volume ``(1, D, H, W)``: D from superior to inferior, H from anterior to posterior, W
from the patient's right to the left (axis codes "IPL"), so that sides lie alike in every scan. All of it is
stock MONAI, put together from the hyper-parameters of a bundle: ``spacing_mm`` (D, H, W), ``divisor`` (one,
or one an axis), ``padding`` ("constant", zeros, where it is not given, or "edge"), and either ``window_hu``
(CT) or ``surroundings_mm``, ``surroundings_floor``, ``window_top`` and ``bright`` (MR, whose intensities have
no unit: they are divided by the mean of what lies around, up to a ratio, see
:func:`~siamed.transforms.local_normalization.normalize_locally`). ``mean_std`` are the mean and the deviation
that are taken out; without it they are the scan's own, in which the share of air counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import (
    Compose,
    DivisiblePadd,
    EnsureChannelFirstd,
    LabelToMaskd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
    Transform,
)

from siamed.transforms.local_normalization import LocalNormalizationd

__all__ = ["AXES", "Intensitiesd", "preprocessing"]

AXES = "IPL"


def preprocessing(
    hparams: Mapping[str, Any],
    labels: Sequence[int] | None = None,
    load: bool = True,
    least: Sequence[int] | None = None,
) -> Compose:
    """The chain of transforms before any that is random.

    Args:
        hparams: of a bundle, see the module.
        labels: values of the label map that are the structure; None where there is no label map.
        load: begin with reading files; False takes MetaTensors ``(1, I, J, K)``.
        least: voxels (D, H, W) that a volume is padded to at least, such as the crop of a training.

    Returns:
        A transform of items ``image`` (and ``label``) to canonical volumes ``(1, D, H, W)``; a label map
        becomes 1 in the structure and 0 elsewhere.

    Raises:
        ValueError: if the hyper-parameters name no window, or both.
    """
    keys = ["image"] if labels is None else ["image", "label"]
    reading: list[Transform] = [LoadImaged(keys), EnsureChannelFirstd(keys)] if load else []
    # Before the label map is resampled: the values between two labels mean nothing.
    reading += [] if labels is None else [LabelToMaskd("label", list(labels), merge_channels=True)]
    padding = hparams.get("padding", "constant")
    modes = ["bilinear"] if labels is None else ["bilinear", "nearest"]
    return Compose(
        [
            *reading,
            Orientationd(keys, axcodes=AXES, labels=None),
            Spacingd(
                keys,
                pixdim=tuple(hparams["spacing_mm"]),
                mode=modes,
                padding_mode="border",
                dtype=np.float32,
            ),
            Intensitiesd(hparams),
            DivisiblePadd(keys, k=hparams["divisor"], mode=padding),
            *([] if least is None else [SpatialPadd(keys, spatial_size=list(least), mode=padding)]),
        ]
    )


class Intensitiesd(Transform):
    """The part of :func:`preprocessing` that changes intensities: the window, then a mean and a deviation
    taken out.

    Args:
        hparams: of a bundle, see the module.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        self._steps = (_window(hparams), NormalizeIntensityd("image", *(hparams.get("mean_std") or ())))

    def __call__(self, data: Mapping[Hashable, Any]) -> Mapping[Hashable, Any]:
        for step in self._steps:
            data = step(data)
        return data


def _window(hparams: Mapping[str, Any]) -> Transform:
    hu: Any = hparams.get("window_hu")
    sigma: Any = hparams.get("surroundings_mm")
    if (hu is None) == (sigma is None):
        raise ValueError(
            "hparams must hold window_hu or surroundings_mm, got " + ("neither" if hu is None else "both")
        )
    if hu is None:
        top, floor = float(hparams["window_top"]), float(hparams["surroundings_floor"])
        return LocalNormalizationd("image", float(sigma), top, floor, hparams["bright"])
    low, high = (float(value) for value in hu)
    return ScaleIntensityRanged("image", low, high, low, high, clip=True)

"""A CT of blocks: air, body, spine, table, and two kidneys that differ in size, height and gray value."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, ornt_transform

__all__ = ["LEFT_ML", "RIGHT_ML", "Oracle", "kidney_ct", "kidney_mr"]

SPACING = (3.0, 3.0, 5.0)
RIGHT, LEFT = np.s_[58:72, 20:34, 8:20], np.s_[22:38, 20:34, 14:30]
RIGHT_ML = 14 * 14 * 12 * 45 / 1000
LEFT_ML = 16 * 14 * 16 * 45 / 1000


def kidney_ct(
    codes: str = "RAS", right: bool = True, left: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, affine, and truth (1 right, 2 left), with axes that grow as ``codes`` say."""
    image = np.full((90, 64, 36), -1000.0, np.float32)
    image[8:84, 8:56] = -60.0
    image[42:50, 24:34] = 400.0
    image[20:74, 2:4] = 200.0
    truth = np.zeros(image.shape, np.uint8)
    if right:
        image[RIGHT], truth[RIGHT] = 170.0, 1
    if left:
        image[LEFT], truth[LEFT] = 150.0, 2
    image += np.arange(36) / 36
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-140.0, -90.0, 700.0]
    turned = []
    for array in (image, truth):
        file = nibabel.Nifti1Image(array, affine)
        turned.append(file.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes)))))
    return np.asarray(turned[0].dataobj), turned[0].affine, np.asarray(turned[1].dataobj)


def kidney_mr(
    codes: str = "RAS", right: bool = True, left: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same blocks as MR shows them: air and table dark, no value below 0, both kidneys as they were."""
    image, affine, truth = kidney_ct(codes, right, left)
    table = (image >= 199) & (image < 202)
    image = np.where(table, -1000.0, image)
    return np.where(image < -900, 0.0, np.where(image < 0, 100 + image, image)), affine, truth


class Oracle:
    """Stands for a segmenting network: kidney is what measures 100 to 200 HU, away from the table."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.seen = 0

    @classmethod
    def from_bundle(cls, *_: Any, **__: Any) -> Oracle:
        """As the segmenter of a bundle."""
        return cls()

    def __call__(self, image: MetaTensor) -> np.ndarray:
        """Probability on the image's own grid."""
        self.seen += 1
        values = image.as_tensor()[0].numpy()
        return ((values > 100) & (values < 199)).astype(np.float32)

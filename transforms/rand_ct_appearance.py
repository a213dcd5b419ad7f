"""A CT image from a map of tissues, drawn anew each time [billot2023synthseg, Sec. 3], [D-0076].

Every tissue gets a mean within its range in a phase of contrast agent, and a smooth texture; partial volume
blurs the whole, as thick slices do along the body; noise has the grain of a reconstruction kernel; now and
then streaks run from what is dense.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from scipy import ndimage

from .tissues import KIDNEY, PHASES, TISSUES

__all__ = ["INGREDIENTS", "CTAppearance", "RandCTAppearanced", "draw_appearance", "render_ct"]

INGREDIENTS = ("texture", "partial_volume", "noise", "streaks")
"""What an image has beside the means of its tissues, and may be drawn without."""
_MIN_HU, _MAX_HU = -1024.0, 3071.0
_DENSE_HU = 250.0


@dataclass(frozen=True)
class CTAppearance:
    """What is drawn for one image; HU, millimeters.

    Args:
        mean_hu: of each tissue.
        texture_hu: standard deviation of each tissue's texture.
        texture_mm: how smooth the texture is.
        blur_mm: Gaussian sigma along D, H, W: partial volume and slice thickness.
        noise_hu: standard deviation.
        grain_mm: how smooth the noise is.
        streak_hu: height of streaks; 0 for none.
        seed: of texture, noise and streaks.
    """

    mean_hu: tuple[float, ...]
    texture_hu: tuple[float, ...]
    texture_mm: float
    blur_mm: tuple[float, float, float]
    noise_hu: float
    grain_mm: float
    streak_hu: float
    seed: int


def draw_appearance(
    rng: np.random.RandomState, varied: float = 1.0, without: Collection[str] = ()
) -> CTAppearance:
    """Draw an appearance.

    Args:
        rng: where all randomness comes from.
        varied: factor on the width of every range of Hounsfield units: 0 gives textbook means, 1 the ranges
            of :data:`~siamed.transforms.tissues.TISSUES`.
        without: some of :data:`INGREDIENTS`; all else is drawn as it would be with them.
    """
    phase = PHASES[rng.randint(len(PHASES))]
    means, textures = [], []
    for tissue in TISSUES:
        low, high = tissue.range_hu(phase)
        half = varied * (high - low) / 2
        means.append((low + high) / 2 + rng.uniform(-half, half))
        textures.append(rng.uniform(*tissue.texture_hu))
    thick = rng.uniform(0.4, 2.2)
    in_plane = rng.uniform(0.5, 1.6)
    drawn = CTAppearance(
        mean_hu=tuple(means),
        texture_hu=tuple(textures),
        texture_mm=rng.uniform(2.0, 8.0),
        blur_mm=(thick, in_plane, in_plane),
        noise_hu=rng.uniform(2.0, 35.0),
        grain_mm=rng.uniform(0.5, 2.0),
        streak_hu=rng.uniform(10.0, 60.0) if rng.rand() < 0.15 else 0.0,
        seed=int(rng.randint(2**31 - 1)),
    )
    nothing: dict[str, dict[str, Any]] = {
        "texture": {"texture_hu": (0.0,) * len(TISSUES)},
        "partial_volume": {"blur_mm": (0.0, 0.0, 0.0)},
        "noise": {"noise_hu": 0.0},
        "streaks": {"streak_hu": 0.0},
    }
    return replace(drawn, **{key: value for name in without for key, value in nothing[name].items()})


def render_ct(tissues: np.ndarray, drawn: CTAppearance, spacing_mm: Sequence[float]) -> np.ndarray:
    """Render a map.

    Args:
        tissues: ``(D, H, W)`` numbers of :data:`~siamed.transforms.tissues.TISSUES`.
        drawn: the appearance.
        spacing_mm: of the map, along D, H, W.

    Returns:
        ``(D, H, W)`` float32, HU. Deterministic.
    """
    rng = np.random.default_rng(drawn.seed)
    spacing = np.asarray(spacing_mm, float)
    numbers = np.asarray(tissues).astype(np.intp)
    texture = _grain(rng, numbers.shape, drawn.texture_mm / spacing)
    image = np.asarray(drawn.mean_hu, np.float32)[numbers]
    image += np.asarray(drawn.texture_hu, np.float32)[numbers] * texture
    image = ndimage.gaussian_filter(image, np.asarray(drawn.blur_mm) / spacing)
    if drawn.streak_hu:
        image += drawn.streak_hu * _streaks(rng, image)
    image += drawn.noise_hu * _grain(rng, numbers.shape, drawn.grain_mm / spacing)
    return image.clip(_MIN_HU, _MAX_HU)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: np.ndarray) -> np.ndarray:
    """Noise of unit variance, as smooth as asked for."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma)
    return noise / max(float(noise.std()), 1e-6)


def _streaks(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """In each slice rays from a dense place, bright and dark in turn; zero where nothing is dense."""
    found = np.zeros_like(image)
    rows, columns = np.indices(image.shape[1:])
    rays, turn = int(rng.integers(6, 24)), rng.uniform(0, 2 * np.pi)
    for index, plane in enumerate(image):
        dense = np.argwhere(plane > _DENSE_HU)
        if len(dense):
            row, column = dense[rng.integers(len(dense))]
            angle = np.arctan2(rows - row, columns - column)
            fade = 1 / (1 + np.hypot(rows - row, columns - column) / 20)
            found[index] = np.cos(rays * angle + turn) * fade
    return found


class RandCTAppearanced(MapTransform, Randomizable):
    """Turn a map of tissues into an image and the kidneys' mask.

    Args:
        keys: key of the map ``(1, D, H, W)``; it is kept.
        image_key: where the image goes, HU.
        label_key: where the mask goes: 1 in kidneys, 0 elsewhere.
        varied: see :func:`draw_appearance`.
        without: see there.

    Raises:
        ValueError: if ``without`` names what there is not; in a call, if the map is none of one channel.

    Randomness: the appearance, drawn with ``self.R``.
    """

    def __init__(
        self,
        keys: Hashable,
        image_key: str = "image",
        label_key: str = "label",
        varied: float = 1.0,
        without: Sequence[str] = (),
    ) -> None:
        MapTransform.__init__(self, keys)
        if not set(without) <= set(INGREDIENTS):
            raise ValueError(f"without must name some of {list(INGREDIENTS)}, got {list(without)}")
        self.image_key, self.label_key, self.varied = image_key, label_key, float(varied)
        self.without = tuple(without)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        tissues = result[self.keys[0]]
        if not isinstance(tissues, MetaTensor) or tissues.ndim != 4 or tissues.shape[0] != 1:
            raise ValueError(
                f"{self.keys[0]} must be a MetaTensor (1, D, H, W), got {type(tissues).__name__}"
            )
        spacing = np.linalg.norm(np.asarray(tissues.affine, float)[:3, :3], axis=0)
        numbers = tissues.as_tensor()[0].numpy()
        image = render_ct(numbers, draw_appearance(self.R, self.varied, self.without), spacing)
        mask = np.isin(numbers, KIDNEY).astype(np.float32)
        for key, array in ((self.image_key, image), (self.label_key, mask)):
            result[key] = MetaTensor(torch.from_numpy(array)[None], affine=tissues.affine)
        return result

"""A body drawn around real kidneys: a map of tissues in the canonical axes (D to the feet, H to the back, W
to the left), cubic voxels.

Kidneys with their tumors keep their shape and their places relative to each other. Everything else is drawn
at random around them: spine, muscles, ribs, vessels, bowel, stomach, fat, skin, table, lungs at the upper
end; liver and spleen are those of a real label map where one is given. Measures are millimeters, from anatomy
textbooks and wide on purpose [D-0076].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from siamed.transforms.tissues import tissue_number as n

from .drawing import Grid, smooth_field

__all__ = ["Frame", "Organs", "draw_abdomen", "fill_kidneys"]

_ORGAN_SIGMA_MM = 4.0  # label maps of thick slices have steps


@dataclass(frozen=True)
class Organs:
    """Liver and spleen of a real label map, and where its kidneys lie.

    Args:
        liver: mask ``(D, H, W)``.
        spleen: mask of the same shape.
        kidneys: mask of the same shape.
    """

    liver: np.ndarray
    spleen: np.ndarray
    kidneys: np.ndarray


@dataclass(frozen=True)
class Frame:
    """Where the body lies; mm on the grid.

    Args:
        middle: W of the midline.
        spine: H of the middle of the vertebral bodies.
        side: half the width of the cavity.
        front: H of the cavity's front.
        back: H of the body's back.
    """

    middle: float
    spine: float
    side: float
    front: float
    back: float


def draw_abdomen(
    kidneys: np.ndarray, spacing_mm: float, rng: np.random.Generator, organs: Organs | None = None
) -> np.ndarray:
    """Draw one body.

    Args:
        kidneys: ``(d, h, w)``: 1 kidney, 2 tumor, cropped to them; both kidneys.
        spacing_mm: of their voxels.
        rng: where all randomness comes from.
        organs: on a grid of the same spacing; None draws neither liver nor spleen.

    Returns:
        ``(D, H, W)`` uint8, numbers of :data:`~siamed.transforms.tissues.TISSUES`.
    """
    grid, place, frame = _layout(np.asarray(kidneys), spacing_mm, rng)
    whole = np.zeros(grid.shape, np.uint8)
    whole[place] = kidneys
    own = whole > 0
    tissues = _shell(grid, frame, rng)
    inside = tissues == n("visceral fat")
    liver, spleen = _organs(grid, own, organs, inside, rng)
    tissues[_heart_and_lungs(grid, frame, tissues, liver, rng)] = n("lung")
    _bowel(grid, frame, tissues, rng)
    for mask, name in ((spleen, "spleen"), (liver, "liver")):
        tissues[mask & inside] = n(name)
    if liver.any() and rng.random() < 0.6:
        center = [axis.mean() * grid.spacing for axis in np.nonzero(liver)]
        radii = rng.uniform(10, 22, 3)
        lower = [center[0] + 25, center[1] - 30, center[2] + rng.uniform(0, 25)]
        tissues[grid.ellipsoid(lower, radii) & inside] = n("bile or cyst")
    away = ndimage.distance_transform_edt(~own) * spacing_mm
    around = (away <= rng.uniform(2, 18)) & (tissues != n("lung"))
    tissues[around & inside] = n("visceral fat")
    _spine(grid, frame, tissues, rng)
    _vessels(grid, frame, tissues, own, rng)
    fill_kidneys(tissues, whole, grid.spacing, rng)
    _table(grid, frame, tissues, rng)
    return tissues


def _layout(
    kidneys: np.ndarray, spacing: float, rng: np.random.Generator
) -> tuple[Grid, tuple[slice, ...], Frame]:
    """The grid, where the given kidneys lie in it, and the body's measures around them."""
    _, h, w = (axis * spacing for axis in np.nonzero(kidneys))
    middle = (w.min() + w.max()) / 2 + rng.uniform(-6, 6)
    side = max(middle - w.min(), w.max() - middle) + rng.uniform(6, 28)
    spine = h.mean() + rng.uniform(-16, 4)
    front, back = spine - rng.uniform(75, 165), spine + rng.uniform(62, 85)
    # In the frame of the given kidneys; now a field of view around the body.
    above, below = rng.uniform(20, 170), rng.uniform(20, 190)
    air = rng.uniform(6, 45, 4)
    fat = rng.uniform(5, 50)
    low = np.array([-above, front - fat - air[0], middle - side - fat - 20 - air[1]])
    high = np.array(
        [kidneys.shape[0] * spacing + below, back + fat + air[2], middle + side + fat + 20 + air[3]]
    )
    shape = np.ceil((high - low) / spacing).astype(int)
    start = np.rint(-low / spacing).astype(int)
    # A kidney that the field of view cuts stays inside the grid.
    start = np.clip(start, 0, None)
    shape = np.maximum(shape, start + kidneys.shape)
    place = tuple(slice(a, a + size) for a, size in zip(start, kidneys.shape, strict=True))
    offset = start * spacing
    frame = Frame(middle + offset[2], spine + offset[1], side, front + offset[1], back + offset[1])
    return Grid(shape, spacing), place, frame


def _shell(grid: Grid, frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Air, skin, fat, the muscles of the wall, ribs in it, and the cavity as visceral fat."""
    center, half = (frame.front + frame.back) / 2, (frame.back - frame.front) / 2
    wave = 1 + rng.uniform(0, 0.08) * np.sin(2 * np.pi * (grid.d / rng.uniform(250, 600) + rng.random()))
    power = rng.uniform(2.0, 2.8)
    rise, across = (grid.h - center) / half, (grid.w - frame.middle) / frame.side
    radius = (np.abs(rise) ** power + np.abs(across) ** power) ** (1 / power) / wave
    out = (radius - 1) * (half + frame.side) / 2  # mm beyond the cavity, nearly
    wall = rng.uniform(6, 16)
    # Fat: its own thickness at the front, the sides and the back.
    front, sides, back = rng.uniform(4, 50), rng.uniform(4, 40), rng.uniform(4, 35)
    share = rise**2 / (rise**2 + across**2 + 1e-6)
    fat = sides + (np.where(rise < 0, front, back) - sides) * share
    tissues = np.full(grid.shape, n("air"), np.uint8)
    tissues[out <= wall + fat + 2.5] = n("skin")
    tissues[out <= wall + fat] = n("subcutaneous fat")
    tissues[out <= wall] = n("muscle")
    tissues[out <= 0] = n("visceral fat")
    lowest = rng.uniform(0.2, 0.7) * grid.d.max()
    gap, slope = rng.uniform(22, 32), rng.uniform(0.2, 0.6)
    along = (grid.d + slope * (grid.h - center)) / gap + rng.random()
    rib = (np.abs(along - np.rint(along)) * gap < 5) & (grid.d < lowest) & (rise > -0.75)
    rib = rib & (out > wall * 0.2) & (out < wall * 0.2 + 8) & (np.abs(across) > 0.25)
    tissues[rib] = n("spongy bone")
    tissues[rib & ~ndimage.binary_erosion(rib)] = n("cortical bone")
    return tissues


def _organs(
    grid: Grid, kidneys: np.ndarray, organs: Organs | None, inside: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Liver and spleen, moved and scaled so that their own kidneys would lie where the given ones do."""
    if organs is None:
        return grid.empty(), grid.empty()
    wanted, given = (_box(mask) for mask in (kidneys, organs.kidneys))
    scale = np.clip((wanted[1] - wanted[0]) / (given[1] - given[0]), 0.75, 1.35) * rng.uniform(0.9, 1.1, 3)
    shift = rng.uniform(-12, 12, 3) / grid.spacing
    target, source = wanted.mean(0) + shift, given.mean(0)
    moved = []
    for mask in (organs.liver, organs.spleen):
        soft = ndimage.gaussian_filter(mask.astype(np.float32), _ORGAN_SIGMA_MM / grid.spacing)
        placed = ndimage.affine_transform(soft, 1 / scale, source - target / scale, grid.shape, order=1)
        moved.append((placed > 0.5) & inside)
    return moved[0], moved[1]


def _box(mask: np.ndarray) -> np.ndarray:
    places = np.argwhere(mask)
    return np.stack([places.min(0), places.max(0) + 1]).astype(float)


def _heart_and_lungs(
    grid: Grid, frame: Frame, tissues: np.ndarray, liver: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mask of the lungs, under domes at the upper end of the field of view; the heart is put between them."""
    if rng.random() < 0.25:
        return grid.empty()
    first = np.flatnonzero(liver.any((1, 2)))
    top = float(first[0]) * grid.spacing if len(first) else rng.uniform(0, 60)
    rise = (grid.h - (frame.front + frame.back) / 2) / (frame.back - frame.front) * 2
    across = (grid.w - frame.middle) / frame.side
    dome = top - 5 + rng.uniform(15, 60) * (rise**2 + across**2)
    lungs = (grid.d < dome) & (tissues == n("visceral fat")) & ~ndimage.binary_dilation(liver)
    heart = grid.ellipsoid(
        [top - rng.uniform(10, 45), frame.front + rng.uniform(35, 70), frame.middle + rng.uniform(5, 35)],
        rng.uniform(28, 50, 3),
    )
    tissues[heart & lungs] = n("artery")
    return lungs & ~heart


def _bowel(grid: Grid, frame: Frame, tissues: np.ndarray, rng: np.random.Generator) -> None:
    """Loops of bowel, the stomach and lumps of other tissue, in the fat of the cavity alone."""
    depth = frame.spine - frame.front
    space = tissues == n("visceral fat")
    loops = int(rng.integers(8, 46))
    for _ in range(loops):
        start = [
            rng.uniform(0, float(grid.d.max())),
            frame.front + rng.uniform(0.02, 1.0) * depth,
            frame.middle + rng.uniform(-0.9, 0.9) * frame.side,
        ]
        path = grid.walk(rng, start, rng.uniform(30, 220), rng.uniform(0.05, 0.4))
        _hollow(grid, tissues, space, path, rng.uniform(7, 22), rng)
    for side in (-1, 1):  # ascending and descending colon
        if rng.random() < 0.8:
            start = [
                rng.uniform(20, 100),
                frame.spine - rng.uniform(5, 50),
                frame.middle + side * rng.uniform(0.6, 0.92) * frame.side,
            ]
            path = np.asarray(start) + np.arange(0, float(grid.d.max()) - start[0], grid.spacing)[:, None] * [
                1.0,
                rng.uniform(-0.15, 0.15),
                rng.uniform(-0.1, 0.1),
            ]
            _hollow(grid, tissues, space, path, rng.uniform(10, 26), rng)
    if rng.random() < 0.8:
        center = [rng.uniform(0, 120), frame.front + rng.uniform(30, 80), frame.middle + rng.uniform(20, 80)]
        path = grid.walk(rng, center, rng.uniform(40, 110), 0.1)
        _hollow(grid, tissues, space, path, rng.uniform(20, 45), rng)
    for _ in range(int(rng.integers(0, 10))):  # pancreas, adrenals, lymph nodes, whatever lies about
        center = [
            rng.uniform(0, float(grid.d.max())),
            frame.spine - rng.uniform(0, 80),
            frame.middle + rng.uniform(-0.8, 0.8) * frame.side,
        ]
        lump = grid.ellipsoid(center, rng.uniform(4, 26, 3)) & space
        tissues[lump] = n(rng.choice(["other soft tissue", "other soft tissue", "bile or cyst", "vein"]))


def _hollow(
    grid: Grid,
    tissues: np.ndarray,
    space: np.ndarray,
    path: np.ndarray,
    radius_mm: float,
    rng: np.random.Generator,
) -> None:
    """A tube with a wall and something in it; gas lies toward the front."""
    outer = grid.tube(path, radius_mm) & space
    inner = grid.tube(path, max(radius_mm - rng.uniform(2, 5), 2)) & outer
    tissues[outer] = n("bowel wall")
    content = rng.choice(
        ["bowel fluid", "bowel wall", "gas", "oral contrast", "stool"], p=[0.3, 0.25, 0.15, 0.1, 0.2]
    )
    tissues[inner] = n(str(content))
    if content in ("bowel fluid", "oral contrast", "stool") and rng.random() < 0.5 and inner.any():
        rows = np.nonzero(inner)[1]
        level = np.quantile(rows, rng.uniform(0.1, 0.6)) * grid.spacing
        tissues[inner & (grid.h < level)] = n("gas")


def _spine(grid: Grid, frame: Frame, tissues: np.ndarray, rng: np.random.Generator) -> None:
    """Vertebrae, discs, canal, processes, and the muscles beside them, over what lies there."""
    lean = rng.uniform(-0.1, 0.1)
    h0 = frame.spine + rng.uniform(-8, 8) * np.sin(2 * np.pi * (grid.d / 500 + rng.random()))
    w0 = frame.middle + lean * (grid.d - float(grid.d.mean()))
    body_h, body_w = rng.uniform(14, 20), rng.uniform(19, 27)
    cavity = np.isin(tissues, [n("air"), n("skin"), n("subcutaneous fat")], invert=True)

    def beside(dh: float, dw: float, rh: float, rw: float) -> np.ndarray:
        return ((grid.h - h0 - dh) / rh) ** 2 + ((np.abs(grid.w - w0) - dw) / rw) ** 2 <= 1

    growth = 0.4 + 0.6 * np.clip(grid.d / float(grid.d.max()), 0, 1)
    psoas = rng.uniform(12, 26) * growth
    muscle = ((grid.h - h0 - 2) / psoas) ** 2 + (
        (np.abs(grid.w - w0) - body_w - 0.7 * psoas) / psoas
    ) ** 2 <= 1
    muscle |= beside(body_h + 24, 28, rng.uniform(16, 26), rng.uniform(20, 32))
    muscle |= beside(body_h + 6, rng.uniform(52, 70), rng.uniform(6, 11), rng.uniform(14, 24))
    tissues[muscle & cavity] = n("muscle")
    bone = ((grid.h - h0) / body_h) ** 2 + ((grid.w - w0) / body_w) ** 2 <= 1
    period, disc = rng.uniform(32, 42), rng.uniform(5, 12)
    phase = (grid.d + rng.uniform(0, period)) % period
    canal = ((grid.h - h0 - body_h - 8) / 8) ** 2 + ((grid.w - w0) / 11) ** 2 <= 1
    arch = ((grid.h - h0 - body_h - 8) / 13) ** 2 + ((grid.w - w0) / 17) ** 2 <= 1
    mid = np.abs(phase - disc - (period - disc) / 2)
    spinous = (
        (np.abs(grid.w - w0) < 4) & (grid.h > h0 + body_h + 14) & (grid.h < h0 + body_h + 46) & (mid < 9)
    )
    transverse = (
        (np.abs(grid.h - h0 - body_h - 2) < 5) & (np.abs(grid.w - w0) < rng.uniform(32, 44)) & (mid < 5)
    )
    solid = (bone | (arch & (mid < 11)) | spinous | transverse) & cavity
    tissues[solid] = n("spongy bone")
    tissues[solid & ~ndimage.binary_erosion(solid)] = n("cortical bone")
    tissues[bone & (phase < disc) & cavity] = n("disc")
    tissues[canal & cavity] = n("spinal canal")


def _vessels(
    grid: Grid, frame: Frame, tissues: np.ndarray, kidneys: np.ndarray, rng: np.random.Generator
) -> None:
    """Aorta to the left of the midline and vena cava to the right, in front of the spine; renal vessels."""
    soft = np.isin(tissues, [n("air"), n("skin"), n("subcutaneous fat"), n("lung")], invert=True)
    for name, side, least, most in (("artery", 8.0, 7.0, 13.0), ("vein", -15.0, 7.0, 15.0)):
        h0, sway = frame.spine - rng.uniform(22, 34), rng.uniform(0, 6)
        turn = np.sin(2 * np.pi * (grid.d / 300 + rng.random()))
        w0 = frame.middle + side + rng.uniform(-5, 5) + sway * turn
        trunk = (grid.h - h0) ** 2 + (grid.w - w0) ** 2 <= rng.uniform(least, most) ** 2
        tissues[trunk & soft] = n(name)
        parts, count = ndimage.label(kidneys)
        for part in range(1, count + 1):
            places = np.argwhere(parts == part)
            if len(places) < 200:
                continue
            hilum = places.mean(0) * grid.spacing + rng.uniform(-8, 8, 3)
            start = np.array([hilum[0] - rng.uniform(-5, 20), h0, float(np.mean(w0))])
            points = start + np.linspace(0, 1, 80)[:, None] * (hilum - start)
            tissues[grid.tube(points, rng.uniform(2, 5)) & soft] = n(name)


def fill_kidneys(
    tissues: np.ndarray, kidneys: np.ndarray, spacing_mm: float, rng: np.random.Generator
) -> None:
    """Put cortex, medulla and tumor where the kidneys are; fat, vessels and pelvis in the sinus beside them.

    Args:
        tissues: ``(D, H, W)`` map, changed in place.
        kidneys: ``(D, H, W)``: 1 kidney, 2 tumor.
        spacing_mm: edge of a voxel.
        rng: where all randomness comes from.
    """
    own = kidneys > 0
    reach = max(1, round(12 / spacing_mm))
    closed = ndimage.binary_closing(np.pad(own, reach), iterations=reach)
    sinus = closed[tuple(slice(reach, -reach) for _ in range(3))] & ~own
    sinus &= np.isin(tissues, [n("lung"), n("cortical bone"), n("spongy bone")], invert=True)
    tissues[sinus] = n("visceral fat")
    noise = smooth_field(rng, own.shape, 5 / spacing_mm)
    tissues[sinus & (noise > rng.uniform(0.0, 1.5))] = n("renal pelvis")
    tissues[sinus & (noise < -rng.uniform(0.6, 1.5))] = n(str(rng.choice(["vein", "artery"])))
    depth = ndimage.distance_transform_edt(kidneys == 1) * spacing_mm
    texture = smooth_field(rng, own.shape, 4 / spacing_mm)
    tissues[kidneys == 1] = n("renal cortex")
    tissues[(depth > rng.uniform(4, 8)) & (texture > rng.uniform(-0.6, 0.4))] = n("renal medulla")
    tissues[kidneys == 2] = n("renal tumor")


def _table(grid: Grid, frame: Frame, tissues: np.ndarray, rng: np.random.Generator) -> None:
    body = np.nonzero((tissues != n("air")).any((0, 2)))[0]
    back = float(body.max()) * grid.spacing + rng.uniform(3, 15)
    curve = back - rng.uniform(0, 0.0012) * (grid.w - frame.middle) ** 2
    slab = (grid.h > curve) & (grid.h < curve + rng.uniform(4, 14)) & (tissues == n("air"))
    tissues[slab] = n("table")

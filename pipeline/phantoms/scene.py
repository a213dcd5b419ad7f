"""All that a sagittal slice of a phantom shows, painted for any place to the side of the middle plane.

Conventions: points are (row, column) in mm of a slice; x is mm to the side, RAS+.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from .anatomy import Body, Gap, axes
from .drawing import Canvas, Window, ellipse_distance, quad_distance

__all__ = ["Scene"]

_BODY_HALF_MM, _CANAL_HALF_MM = 22.0, 9.0  # to the side of the middle plane
_CANAL_MM = 17.0  # from front to back
_CORTEX_MM = 0.8


class Scene:
    """All shapes in the middle plane, computed once; each slice then draws them for its place to the side."""

    def __init__(
        self,
        bodies: list[Body],
        gaps: list[Gap],
        size: tuple[int, int],
        spacing_mm: tuple[float, float],
        tissue: Mapping[str, float],
        nucleus: Mapping[int, float],
        marker_x: float,
    ) -> None:
        self.bodies, self.gaps, self.size, self.spacing = bodies, gaps, size, spacing_mm
        self.tissue, self.nucleus, self.marker_x = tissue, nucleus, marker_x
        self.rows = np.arange(size[0]) * spacing_mm[0]
        self.columns = (np.arange(size[1]) * spacing_mm[1]).astype(np.float32)[None]
        self._curves()
        self._shapes()

    def _curves(self) -> None:
        """Columns (mm) of the canal, the front of the spine and the skin for each row."""
        walls, fronts = [], []
        for body in self.bodies:
            corners = body.corners()
            walls += [corners[1], corners[2]]
            fronts += [corners[0], corners[3]]
        wall, front = np.array(walls), np.array(fronts)
        above, below = self.rows[0] - 40, self.rows[-1] + 40
        rows = np.arange(above, below, 1.0)

        def curve(points: np.ndarray, smooth_mm: float) -> np.ndarray:
            order = np.argsort(points[:, 0])
            points = points[order]
            values = np.interp(rows, points[:, 0], points[:, 1])
            ends = [(points[1] - points[0]), (points[-1] - points[-2])]
            for at, step, side in (
                (points[0], ends[0], rows < points[0, 0]),
                (points[-1], ends[1], rows > points[-1, 0]),
            ):
                slope = np.clip(step[1] / max(step[0], 1.0), -0.5, 0.9)
                values[side] = at[1] + slope * (rows[side] - at[0])
            return ndimage.gaussian_filter1d(values, smooth_mm, mode="nearest")

        canal = curve(wall, 5.0)
        slope = np.gradient(canal, rows)
        straight = 1 / np.hypot(1, slope)
        self.straight = np.interp(self.rows, rows, straight).astype(np.float32)[:, None]
        narrowing = np.clip(
            (rows - self.bodies[-1].corners()[1, 0] + 30) / 60, 0, 1
        )  # the sac ends in the sacrum
        width = _CANAL_MM * (1 - 0.55 * narrowing)
        self.canal_half = np.interp(self.rows, rows, width / 2).astype(np.float32)[:, None]
        self.canal = np.interp(self.rows, rows, canal + (width / 2 + 1.0) / straight).astype(np.float32)[
            :, None
        ]
        self.front = np.interp(self.rows, rows, curve(front, 6.0)).astype(np.float32)[:, None]
        skin = ndimage.gaussian_filter1d(canal, 28.0, mode="nearest") + 74
        self.skin = np.interp(self.rows, rows, skin).astype(np.float32)[:, None]
        l3 = self.bodies[max(0, len(self.bodies) - 6)].center[0]
        self.fiducial = np.array([l3, float(np.interp(l3, self.rows, self.skin[:, 0])) + 6.0])
        # The cord ends at L1-L2; below, roots lie at the back of the sac.
        names = [b.level for b in self.bodies]
        conus = self.bodies[names.index("L2")].corners()[1, 0] if "L2" in names else 0.0
        half = np.where(self.rows < conus, 3.8, 3.8 * np.exp(-(self.rows - conus) / 14))
        self.cord_half = half.astype(np.float32)[:, None]
        low, high = float(self.canal.min()) - 25, float(self.canal.max()) + 25
        first, last = (int(np.clip(c / self.spacing[1], 0, self.size[1])) for c in (low, high))
        self.band = (slice(None), slice(first, last))
        self.away = (self.columns[:, first:last] - self.canal) * self.straight

    def _window(self, center: np.ndarray, tilt: float, radius: float) -> Window:
        return Window(center, tilt, radius, self.size, self.spacing)

    def _island(
        self, body: Body, along: float, across: float, radius: float, brightness: float
    ) -> tuple[tuple[slice, slice], np.ndarray, float]:
        down, back = axes(body.tilt)
        center = body.center + down * along * body.height / 2 + back * across * body.width / 2
        window = self._window(center, body.tilt, radius + 4)
        return window.box, ellipse_distance(window, radius, radius), brightness

    def _shapes(self) -> None:
        self.body_shapes = []
        for body in self.bodies:
            window = self._window(body.center, body.tilt, 0.75 * max(body.height, body.width) + 4)
            sacral = body.level.startswith("S")
            waist, dish = (0.2, 0.0) if sacral else (body.waist, body.dish)
            d = quad_distance(window, body.height, body.width, body.lower_width, waist, dish)
            islands = [self._island(body, *island) for island in body.islands]
            self.body_shapes.append((body, window.box, d, islands))
        self.disc_shapes = []
        for gap in self.gaps:
            low, up = gap.lower.corners(), gap.upper.corners()
            edges = [(up[3] + low[0]) / 2, (up[2] + low[1]) / 2]  # front, back
            center = (edges[0] + edges[1]) / 2
            tilt = (gap.upper.tilt + gap.lower.tilt) / 2
            tall = float(np.linalg.norm(low[:2].mean(0) - up[2:].mean(0)))
            width = float(np.linalg.norm(edges[1] - edges[0])) + 1.0
            window = self._window(center, tilt, 0.75 * width)
            # The whole disc reaches under the plates, whose bodies are painted over it.
            whole = quad_distance(window, tall + 7, width, width, -0.8, 0.0, 1.5)
            shifted = self._window(center + axes(tilt)[1] * 1.0, tilt, 0.75 * width)
            core = ellipse_distance(shifted, tall / 2 + 0.3, width * 0.36)
            self.disc_shapes.append((gap, window.box, whole, shifted.box, core))
        # Below S1 the sacrum is fused: marrow bridges the gaps, whose discs are remnants.
        self.bridges = []
        sacrum = [b for b in self.bodies if b.level.startswith("S")]
        for above, below in zip(sacrum[:-1], sacrum[1:], strict=True):
            center = (above.corners()[2:].mean(0) + below.corners()[:2].mean(0)) / 2
            window = self._window(center, (above.tilt + below.tilt) / 2, 20)
            bridge = np.maximum(np.abs(window.along) - 4, np.abs(window.across) - 0.45 * below.width)
            self.bridges.append((window.box, bridge))
        self.process_shapes = []
        self.facet_shapes = []
        for body in self.bodies:
            down, back = axes(body.tilt)
            size = 0.6 if body.level.startswith("S") else 1.0
            reach = body.width / 2 + _CANAL_MM * (1.0 if size == 1 else 0.75) + 4
            center = body.center + back * (reach + 14 * size) + down * 10
            window = self._window(center, body.tilt - 0.35, 22)
            self.process_shapes.append((body, window.box, ellipse_distance(window, 8.5 * size, 15 * size)))
            if size == 1:
                center = body.center + back * (body.width / 2 + 14) + down * (body.height / 2 + 3)
                window = self._window(center, body.tilt + 0.5, 22)
                facet = ellipse_distance(window, 14, 8)
                center = body.center + back * (body.width / 2 + 5) - down * body.height * 0.18
                pedicle_window = self._window(center, body.tilt, 22)
                pedicle = ellipse_distance(pedicle_window, 7.5, 12)
                self.facet_shapes.append((window.box, facet, pedicle_window.box, pedicle))

    def texture(self, rng: np.random.Generator) -> None:
        """Draw the textures of this scan, ``(H, W)`` around 1: trabeculae, muscle, bowel and its gas."""

        def field(scale_mm: tuple[float, float]) -> np.ndarray:
            sigma = [s / p for s, p in zip(scale_mm, self.spacing, strict=True)]
            steps = [max(1, int(s / 2)) for s in sigma]  # a slow field is drawn on fewer points
            points = [-(-n // k) + 1 for n, k in zip(self.size, steps, strict=True)]
            noise = rng.standard_normal(points, np.float32)
            out = ndimage.gaussian_filter(
                noise, [s / k for s, k in zip(sigma, steps, strict=True)], truncate=3.0
            )
            out = ndimage.zoom(out, steps, order=1)[: self.size[0], : self.size[1]]
            return out / max(float(out.std()), 1e-6)

        self.grain = 1 + 0.06 * field((1.2, 1.0)) + 0.05 * field((6.0, 6.0))
        self.fibers = np.clip(1 + 0.35 * field((9.0, 2.0)) + 0.15 * field((2.0, 2.0)), 0.35, 2.8)
        self.lobes = np.clip(1 + 0.75 * field((9.0, 9.0)) + 0.25 * field((3.0, 3.0)), 0.08, 2.4)
        self.layers = self.fibers**0.3
        self._inner_tissue(300 * 0.5 * np.maximum(field((3.0, 3.0)), 0))

    def draw(self, x: float, slice_mm: float) -> Canvas:
        """The slice at ``x`` mm (RAS+; negative is the patient's left)."""
        canvas = Canvas(self.size, self.spacing)
        aside = abs(x)
        blur = max(slice_mm, 2.0)

        def inside(half: float) -> float:
            return float(np.clip(0.5 + (half - aside) / blur, 0, 1))

        self._soft_tissue(canvas, aside)
        t = self.tissue
        box, half, grain = self.band, self.canal_half, self.grain[self.band]
        canvas.paint(box, np.abs(self.away) - half - 2.5, 0.75 * t["fat"], 0.6 * inside(_CANAL_HALF_MM + 8))
        spine = inside(_BODY_HALF_MM + 1)
        for gap, box, whole, core_box, core in self.disc_shapes:
            canvas.paint(box, whole + 0.01 * aside**1.5, t["annulus"] * self.layers[box], spine, 2)
            value = self.nucleus[gap.grade] * self.grain[core_box]
            canvas.paint(core_box, core + 0.03 * aside**1.5, value, inside(15))
        for box, bridge in self.bridges:
            canvas.paint(box, bridge, t["marrow"] * self.grain[box], spine)
        for body, box, d, islands in self.body_shapes:
            d = d + 0.006 * aside**1.7
            sacral = body.level.startswith("S")
            fused = sacral and body.level != "S1"
            rim, edge = (0.4, 0.6 * t["marrow"]) if fused else (_CORTEX_MM, t["cortex"])
            canvas.paint(box, d - rim, edge, spine)
            canvas.paint(box, d, t["marrow"] * self.grain[box], spine, 0 if sacral else 1)
            for place, away, brightness in islands:
                canvas.paint(place, away, brightness * t["marrow"] * self.grain[place], spine)
        self._canal(canvas, inside, aside, grain)
        self._posterior(canvas, inside, aside)
        self._capsule(canvas, x)
        return canvas

    def _canal(self, canvas: Canvas, inside: Any, aside: float, grain: np.ndarray) -> None:
        """Posterior ligament, dural sac, cord and roots."""
        t, away, half = self.tissue, self.away, self.canal_half
        canvas.paint(self.band, np.abs(away + half + 0.8) - 0.9, t["cortex"], 0.8 * inside(_CANAL_HALF_MM))
        round_half = half * np.sqrt(max(0.0, 1 - (aside / (_CANAL_HALF_MM + 2)) ** 2))
        csf = t["csf"] * (1 + 0.3 * (grain - 1))
        canvas.paint(self.band, np.abs(away) - round_half, csf, inside(_CANAL_HALF_MM), 3)
        canvas.paint(self.band, np.abs(away - 0.12 * half) - self.cord_half, t["cord"], 0.9 * inside(4.5))
        canvas.paint(self.band, np.abs(away - 0.55 * half) - 1.6, t["cord"], 0.45 * inside(6.0))

    def _inner_tissue(self, veins: np.ndarray) -> None:
        """Muscle behind the spine and belly in front of it, the same in all slices."""
        t, canvas = self.tissue, Canvas(self.size, self.spacing)
        everywhere = (slice(None), slice(None))
        canvas.image[:] = np.minimum(t["muscle"] * self.fibers + veins, t["fat"])
        belly = self.columns - (self.front - 3.0)
        fade = np.clip(0.35 + self.columns / np.maximum(self.front, 1), 0.25, 1.0)
        canvas.paint(everywhere, belly, t["belly"] * self.lobes * fade)
        canvas.paint(everywhere, np.abs(belly + 0.3) - 0.8, t["cortex"], 0.8)
        self.inner = canvas.image
        end = max((b.center[0] for b in self.bodies if b.level in ("L3", "L4")), default=0.0)
        taper = np.clip((end + 10 - self.rows[:, None]) / 30, -1, 1)  # the aorta divides at L4
        self.vessel = (np.abs(belly + 9.0) - 6.5 * taper).astype(np.float32)

    def _soft_tissue(self, canvas: Canvas, aside: float) -> None:
        t = self.tissue
        canvas.image[:] = self.inner
        everywhere = (slice(None), slice(None))
        canvas.paint(everywhere, self.vessel, t["vessel"], 0.9 * float(np.clip((15 - aside) / 6, 0, 1)))
        skin = self.skin - np.float32(aside**2 / 400)
        first = int(np.clip((float(skin.min()) - 16) / self.spacing[1], 0, self.size[1]))
        box = (slice(None), slice(first, None))
        depth = self.columns[:, first:] - skin
        canvas.paint(box, -(depth + 13), t["fat"] * (1 + 0.25 * (self.fibers[box] - 1)))
        canvas.paint(box, np.abs(depth + 0.9) - 0.8, 0.25 * t["fat"])
        canvas.paint(box, -depth, 12.0)

    def _posterior(self, canvas: Canvas, inside: Any, aside: float) -> None:
        """Spinous processes in the middle, pedicles and facets to the sides."""
        t = self.tissue
        for body, box, d in self.process_shapes:
            label = 0 if body.level.startswith("S") else 1
            canvas.paint(box, d, t["cortex"], inside(4.5), label)
            canvas.paint(box, d + _CORTEX_MM, 0.9 * t["marrow"] * self.grain[box], inside(4.0))
        beside = min(inside(18.0), 1 - inside(_CANAL_HALF_MM))
        for box, facet, pedicle_box, pedicle in self.facet_shapes:
            canvas.paint(box, facet, t["cortex"], beside, 1)
            canvas.paint(box, facet + 1.8, 0.8 * t["marrow"] * self.grain[box], beside)
            canvas.paint(pedicle_box, pedicle, t["cortex"], beside, 1)
            canvas.paint(pedicle_box, pedicle + _CORTEX_MM, t["marrow"] * self.grain[pedicle_box], beside)

    def _capsule(self, canvas: Canvas, x: float) -> None:
        radius2 = 6.0**2 - (x - self.marker_x) ** 2
        if radius2 > 0:
            radius = float(np.sqrt(radius2))
            window = self._window(self.fiducial, 0.0, 12)
            canvas.paint(window.box, np.hypot(window.along, window.across) - radius, self.tissue["oil"])

"""From bodies in slices to vertebrae: link in mm across slices, then choose the chain that is the column.

A track is one body followed through the slices. The column is the chain of tracks, from superior to inferior,
with the highest total score in which each lower plate faces the next upper plate [D-0023].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .decode import SliceBody

__all__ = ["LinkSettings", "Track", "choose_column", "link_slices", "plate_gap_mm"]


@dataclass(frozen=True)
class LinkSettings:
    """Distances in mm.

    Attributes:
        link_mm: in neighbouring slices one body's centers lie closer than this.
        reach_mm: a track may skip slices over this distance across the slices.
        min_share: a track seen in less than this share of the typical track's slices is dropped.
        node_cost: what a track's score must exceed to be worth adding to the column.
        max_overlap: of neighbours along the column, as a share of the lower one of their heights.
        max_disc_mm: plates farther apart than this have something between them that was missed.
        max_missing: a chain may bridge at most this many missed bodies.
    """

    link_mm: float = 9.0
    reach_mm: float = 12.0
    min_share: float = 0.2
    node_cost: float = 0.25
    max_overlap: float = 0.2
    max_disc_mm: float = 20.0
    max_missing: int = 2


@dataclass(frozen=True)
class Track:
    """One body through the slices.

    Attributes:
        corners: slice -> ``(4, 2)`` corners (row, column) in mm of the slice plane.
        score: mean of the better half of the slices' scores.
        sacral, partial: score-weighted shares of the evidence, 0-1.
        middle: the middle slice.
    """

    corners: dict[int, np.ndarray]
    score: float
    sacral: float
    partial: float
    middle: int

    @property
    def quad(self) -> np.ndarray:
        return self.corners[self.middle]

    @property
    def height(self) -> float:
        return float(np.linalg.norm(self.quad[:2].mean(0) - self.quad[2:].mean(0)))

    @property
    def width(self) -> float:
        return float(np.linalg.norm(self.quad[[0, 3]].mean(0) - self.quad[[1, 2]].mean(0)))


def _make_track(members: list[tuple[int, SliceBody, np.ndarray]]) -> Track:
    scores = np.array([b.score for _, b, _ in members])
    areas = np.array([_area(c) for _, _, c in members])
    good = np.array([d for (d, _, _), a in zip(members, areas, strict=True) if a >= 0.6 * np.median(areas)])
    target = float(good.mean()) if len(good) else float(np.mean([d for d, _, _ in members]))
    middle = min((d for d, _, _ in members), key=lambda d: (abs(d - target), d))
    return Track(
        corners={d: c for d, _, c in members},
        score=float(np.sort(scores)[-max(1, (len(scores) + 1) // 2) :].mean()),
        sacral=float(np.average([b.sacral for _, b, _ in members], weights=scores)),
        partial=float(np.average([b.partial for _, b, _ in members], weights=scores)),
        middle=middle,
    )


def _area(quad: np.ndarray) -> float:
    p, q = quad[2] - quad[0], quad[3] - quad[1]
    return 0.5 * abs(float(p[0] * q[1] - p[1] * q[0]))


def link_slices(
    slices: Sequence[Sequence[SliceBody]],
    pixel_mm: tuple[float, float],
    slice_mm: float,
    settings: LinkSettings,
) -> list[Track]:
    """Tracks through the slices.

    Args:
        slices: bodies of each slice, corners in source pixels.
        pixel_mm: (row, column) spacing.
        slice_mm: distance between neighbouring slices.
        settings: distances.

    Returns:
        Tracks in no particular order. Nearest pairs are joined first; a track never holds two bodies of a
        slice.
    """
    nodes = [(d, b, b.corners * np.asarray(pixel_mm)) for d, bodies in enumerate(slices) for b in bodies]
    centers = np.array([c.mean(0) for _, _, c in nodes]).reshape(-1, 2)
    where = np.array([d for d, _, _ in nodes], int)
    reach = max(1, int(settings.reach_mm // max(slice_mm, 1e-6)))
    pairs = []
    for i in range(len(nodes)):
        near = np.flatnonzero((where > where[i]) & (where <= where[i] + reach))
        distance = np.linalg.norm(centers[near] - centers[i], axis=1)
        steps = where[near] - where[i]
        for j, gap, step in zip(near, distance, steps, strict=True):
            if gap <= settings.link_mm:
                pairs.append((gap + 0.5 * (step - 1), i, int(j)))
    group = {i: {i} for i in range(len(nodes))}
    for _, one, other in sorted(pairs):
        a, b = group[one], group[other]
        if a is b or {where[k] for k in a} & {where[k] for k in b}:
            continue
        a |= b
        for k in b:
            group[k] = a
    unique = {id(g): g for g in group.values()}.values()
    tracks = [_make_track([nodes[k] for k in sorted(g, key=lambda k: where[k])]) for g in unique]
    return _drop_short(tracks, settings)


def _drop_short(tracks: list[Track], settings: LinkSettings) -> list[Track]:
    if not tracks:
        return []
    typical = float(np.median(sorted((len(t.corners) for t in tracks), reverse=True)[:8]))
    return [t for t in tracks if len(t.corners) >= settings.min_share * typical]


def plate_gap_mm(upper: Track, lower: Track) -> float:
    """Distance from the upper body's lower plate to the lower body's upper plate along the column, in mm."""
    axis = lower.quad.mean(0) - upper.quad.mean(0)
    axis = axis / (np.linalg.norm(axis) or 1.0)
    return float((lower.quad[:2].mean(0) - upper.quad[2:].mean(0)) @ axis)


def missing_between(upper: Track, lower: Track, settings: LinkSettings) -> int:
    """How many bodies must lie unseen between two tracks, judged by the room between their plates."""
    gap = plate_gap_mm(upper, lower)
    if gap <= settings.max_disc_mm:
        return 0
    step = 0.5 * (upper.height + lower.height) + 8.0  # a body and a disc
    return max(1, round((gap - 8.0) / step))


def _edge(upper: Track, lower: Track, settings: LinkSettings) -> float | None:
    """Cost of following one track with another; None where they cannot be neighbours of one column."""
    step = lower.quad.mean(0) - upper.quad.mean(0)
    if step[0] <= 0:
        return None
    gap = plate_gap_mm(upper, lower)
    if gap < -settings.max_overlap * min(upper.height, lower.height):
        return None
    down = upper.quad[2:].mean(0) - upper.quad[:2].mean(0)
    along = (lower.quad[1] - lower.quad[0] + upper.quad[2] - upper.quad[3]) / 2
    length = float(np.linalg.norm(along)) or 1.0
    shift = abs(float((lower.quad[:2].mean(0) - upper.quad[2:].mean(0)) @ along)) / length
    missing = missing_between(upper, lower, settings)
    if missing > settings.max_missing or shift > (0.6 + 0.6 * missing) * length:
        return None
    if float(down @ step) <= 0:
        return None
    ratio = np.log(max(upper.width, 1.0) / max(lower.width, 1.0))
    return 0.35 * missing + 0.2 * max(0.0, shift / length - 0.3) + 0.3 * max(0.0, abs(ratio) - 0.3)


def choose_column(tracks: Sequence[Track], settings: LinkSettings) -> list[Track]:
    """The chain of tracks with the highest total score, superior first; the others are not of this column."""
    order = sorted(tracks, key=lambda t: float(t.quad[:, 0].mean()))
    best: list[float] = []
    before: list[int | None] = []
    for j, track in enumerate(order):
        value, parent = 0.0, None
        for i in range(j):
            cost = _edge(order[i], track, settings)
            if cost is not None and best[i] - cost > value:
                value, parent = best[i] - cost, i
        best.append(value + track.score - settings.node_cost)
        before.append(parent)
    chain: list[Track] = []
    at = int(np.argmax(best)) if best else None
    while at is not None:
        chain.append(order[at])
        at = before[at]
    return _without_intruders(chain[::-1], settings)


def _without_intruders(chain: list[Track], settings: LinkSettings) -> list[Track]:
    """Of three neighbours whose outer two leave room for a disc only, the weakest is no body."""
    kept = list(chain)
    while True:
        crowded = [
            j
            for i in range(1, len(kept) - 1)
            if not missing_between(kept[i - 1], kept[i + 1], settings)
            for j in (i - 1, i, i + 1)
        ]
        if not crowded:
            return kept
        del kept[min(crowded, key=lambda i: kept[i].score)]

"""The page of one scan: what was found, how sure the networks are, and what to be careful about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from siamed.pipeline.report.pictures import (
    MAIN_PIXELS,
    STRIP_PIXELS,
    DiscPicture,
    HotspotPicture,
    disc_picture,
    hotspot_pictures,
    intensity_window,
    middle_slice,
    region_of,
    slice_of_disc,
    slice_picture,
    strip,
)
from siamed.pipeline.tasks import task_title, value_title

if TYPE_CHECKING:
    from siamed.pipeline.results import DiscResult, GradeResult
    from siamed.pipeline.spine import SpineReading

__all__ = ["REFER_BELOW", "render_report", "unsure_tasks"]

REFER_BELOW = 0.6
"""A grade whose probability is below this is marked for a second look [D-0048]."""


@dataclass(frozen=True)
class GradeRow:
    """One grade as the page shows it."""

    task: str
    title: str
    grade: int
    word: str
    expected: float
    confidence: float
    refer: bool
    bars: tuple[tuple[str, float, bool], ...]  # class, probability, whether it is the grade
    likely: tuple[str, ...] = ()  # in words; empty without a calibration


@dataclass(frozen=True)
class DiscCard:
    """One disc as the page shows it."""

    anchor: str
    name: str
    grades: tuple[GradeRow, ...]
    picture: DiscPicture | None
    slices: tuple[tuple[int, str], ...] = ()  # of the volume, those that have hotspots
    hotspots: tuple[HotspotPicture, ...] = ()

    @property
    def refer(self) -> bool:
        """Whether any grade deserves a second look."""
        return any(row.refer for row in self.grades)


def render_report(reading: SpineReading, written: datetime | None = None) -> str:
    """Return the page as HTML.

    Args:
        reading: from :class:`~siamed.pipeline.spine.SpineReader`.
        written: the time that the page names; now where None.
    """
    window = intensity_window(reading)
    main = slice_picture(reading, middle_slice(reading), MAIN_PIXELS, window, borrow=True)
    cards = _cards(reading)
    rows = {row.task: row.title for card in cards for row in card.grades}
    return template("report.html.j2").render(
        result=reading.result,
        schema=reading.result.SCHEMA,
        main=main,
        borrowed=[o.name for o in main.outlines if o.borrowed],
        strip=[slice_picture(reading, d, STRIP_PIXELS, window) for d in strip(reading)],
        cards=cards,
        tasks=rows,
        unsure=sum(row.refer for card in cards for row in card.grades),
        words=lambda task, name, bars: "yes" if bars == 1 else value_title(task, int(name), bars),
        refer_below=REFER_BELOW,
        extracted=reading.extracted,
        earlier=[_earlier(reading, number) for number in range(len(reading.changes))],
        written=(written or datetime.now(timezone.utc)).strftime("%Y-%m-%d %H:%M UTC"),
    )


def unsure_tasks(disc: DiscResult) -> tuple[str, ...]:
    """Return the tasks of a disc whose grade deserves a second look."""
    return tuple(task for task, grade in disc.grades.items() if grade.confidence < REFER_BELOW)


def template(name: str) -> Any:
    """Load a template of this package; what is filled in is escaped, a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("siamed.pipeline.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.0f}\u00a0%"
    return environment.get_template(name)


@dataclass(frozen=True)
class EarlierTable:
    """One earlier scan as the page compares it."""

    scan_id: str
    rows: tuple[tuple[str, tuple[tuple[str, str, float, bool] | None, ...]], ...]  # disc, then a cell a task
    compared: int  # differences that have a limit
    beyond: int
    limits: tuple[float | None, ...]
    unmatched: tuple[str, ...]


def _earlier(reading: SpineReading, number: int) -> EarlierTable:
    found, result = reading.changes[number], reading.result
    classes = {t: len(g.probabilities) for disc in result.discs for t, g in disc.grades.items()}
    cells = {
        (change.level, change.task): (
            value_title(change.task, change.earlier, classes[change.task]),
            value_title(change.task, change.later, classes[change.task]),
            change.difference,
            change.beyond_noise,
        )
        for change in found.changes
    }
    levels = dict.fromkeys(change.level for change in found.changes)
    limits = {change.task: change.limit for change in found.changes}
    return EarlierTable(
        found.scan_id,
        tuple((level, tuple(cells.get((level, task)) for task in result.tasks)) for level in levels),
        sum(change.limit is not None for change in found.changes),
        sum(change.beyond_noise for change in found.changes),
        tuple(limits.get(task) for task in result.tasks),
        found.unmatched,
    )


def _cards(reading: SpineReading) -> list[DiscCard]:
    pictures = {
        index: disc_picture(region_of(np.asarray(image.as_tensor()[0], np.float32)))
        for index, image in zip(reading.discs.indices, reading.discs.images, strict=True)
    }
    hotspots = _hotspots(reading)
    cards = []
    for index, disc in enumerate(reading.result.discs):
        upper, lower = disc.vertebrae
        name = disc.level or f"Disc between bodies {upper + 1} and {lower + 1}"
        grades = tuple(_row(task, grade) for task, grade in disc.grades.items())
        evidence = hotspots.get(index, ((), ()))
        cards.append(DiscCard(f"disc-{index + 1}", name, grades, pictures.get(index), *evidence))
    return cards


def _hotspots(
    reading: SpineReading,
) -> dict[int, tuple[tuple[tuple[int, str], ...], tuple[HotspotPicture, ...]]]:
    """For each disc the slices that have hotspots, and these."""
    found = reading.hotspots
    if found is None:
        return {}
    drawn = {}
    for index, image, maps in zip(
        reading.discs.indices, reading.discs.images, found.smoothed().numpy(), strict=True
    ):
        volume = region_of(np.asarray(image.as_tensor()[0], np.float32))
        pictures = hotspot_pictures(found.tasks, region_of(maps))
        slices = tuple((d, slice_of_disc(volume, d)) for d, _ in pictures[0].overlays)
        drawn[index] = (slices, pictures)
    return drawn


def _row(task: str, grade: GradeResult) -> GradeRow:
    # Of a finding that is there or not, one bar says all.
    shown = {"1"} if set(grade.probabilities) == {"0", "1"} else set(grade.probabilities)
    return GradeRow(
        task=task,
        title=task_title(task),
        grade=grade.grade,
        word=value_title(task, grade.grade, len(grade.probabilities)),
        expected=grade.expected,
        confidence=grade.confidence,
        refer=grade.confidence < REFER_BELOW,
        bars=tuple((k, p, int(k) == grade.grade) for k, p in grade.probabilities.items() if k in shown),
        likely=tuple(value_title(task, g, len(grade.probabilities)) for g in grade.likely),
    )

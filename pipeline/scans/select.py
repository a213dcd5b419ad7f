"""Choose one series of a study: the best for what is looked for, or the one asked for, and say why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.dicom import Series
from siamed.pipeline.scans.sagittal import plane_of
from siamed.pipeline.scans.stack import stack_frames

# Best first: what the discs are graded on, then what shows them less well.
SEQUENCE_ORDER = ("T2", "T2_SPACE", "T1", "PD", "STIR", "FLAIR", "T1_SPACE", "T2_STAR", "unknown")
_MAX_LISTED = 12
_BEST = {"spine": "sagittal T2", "abdomen": "axial CT or MR"}


BODY_PARTS = ("spine", "abdomen")


def choose_series(
    series: Sequence[Series], wanted: int | str | None = None, body_part: str = "spine"
) -> tuple[Series, tuple[str, ...]]:
    """Return the chosen series and notes that say what was chosen and why.

    Without ``wanted`` the order of preference is, for the spine: MR before anything else; a picture before a
    localizer; complete and even slices before broken ones; sagittal slices or a nearly isotropic volume
    before axial and coronal; then :data:`SEQUENCE_ORDER`; original before derived; more slices; the later
    series, as a repeated one replaces the first. For the abdomen CT is as good as MR, axial slices take the
    place of sagittal ones, and the sequence does not count.

    Args:
        series: the series of one study, at least one.
        wanted: series number, SeriesInstanceUID, or description (whole, else a part of it; case ignored).
        body_part: one of :data:`BODY_PARTS`, what is looked for.

    Raises:
        CaseError: code ``series-not-found`` or ``series-ambiguous``.
    """
    if wanted is not None:
        chosen = _find(series, str(wanted).strip())
        return chosen, (f"{chosen.name} was asked for: {_describe(chosen)}",)
    if len(series) == 1:
        return series[0], (f"{series[0].name} is the only one: {_describe(series[0])}",)
    ranked = sorted(series, key=lambda one: _rank(one, body_part), reverse=True)
    chosen = ranked[0]
    others = "; ".join(f"{s.name} ({_describe(s)})" for s in ranked[1:_MAX_LISTED])
    if len(ranked) > _MAX_LISTED:
        others += f"; and {len(ranked) - _MAX_LISTED} more"
    notes = [
        f"{chosen.name} was picked of {len(series)} as the best {_BEST[body_part]}: {_describe(chosen)}; "
        f"not: {others}"
    ]
    if _rank(ranked[0], body_part)[:6] == _rank(ranked[1], body_part)[:6]:
        notes.append(f"{ranked[1].name} would have served as well; name a series to choose it")
    return chosen, tuple(notes)


def series_plane(series: Series) -> str:
    """Return the plane of a series ("sagittal", "volume", ...), or the code of what is wrong with it."""
    try:
        stack = stack_frames(series.frames)
    except CaseError as error:
        return error.code
    first = stack.frames[0]
    return plane_of((first.columns, first.rows, len(stack.frames)), stack.affine).name


def _rank(series: Series, body_part: str) -> tuple[int, int, int, int, int, int, int, int]:
    plane, spine = series_plane(series), body_part == "spine"
    sound = plane in ("sagittal", "coronal", "axial", "oblique", "volume")
    order = [*SEQUENCE_ORDER, series.sequence]
    return (
        int(series.first.modality in (("MR",) if spine else ("CT", "MR"))),
        int(not series.localizer),
        int(sound and series.first.color.startswith("MONOCHROME")),
        int(plane in ("sagittal" if spine else "axial", "volume")),
        -order.index(series.sequence) if spine else 0,
        int("DERIVED" not in series.first.image_type),
        len(series.frames),
        -1 if series.first.series_number is None else series.first.series_number,
    )


def _describe(series: Series) -> str:
    first = series.first
    words = [series_plane(series), series.sequence, f"{len(series.frames)} slices"]
    if first.modality != "MR":
        words.insert(0, first.modality or "no modality")
    if series.localizer:
        words.insert(0, "localizer")
    times = [
        f"{name} {np.round(value, 1):g} ms"
        for name, value in (("TE", first.echo_time_ms), ("TR", first.repetition_time_ms))
        if value is not None
    ]
    return ", ".join(words + times)


def _find(series: Sequence[Series], wanted: str) -> Series:
    lowered = wanted.lower()
    tests = (
        lambda s: s.first.series_uid == wanted,
        lambda s: wanted.isdigit() and s.first.series_number == int(wanted),
        lambda s: s.first.description.lower() == lowered,
        lambda s: bool(lowered) and lowered in s.first.description.lower(),
    )
    for test in tests:
        found = [s for s in series if test(s)]
        if len(found) == 1:
            return found[0]
        if found:
            raise CaseError(
                "series-ambiguous",
                f"{len(found)} series answer to '{wanted}': "
                + "; ".join(f"{s.name}, {_describe(s)}" for s in found),
                path=found[0].first.path,
                hint="Name the series by its SeriesInstanceUID.",
            )
    raise CaseError(
        "series-not-found",
        f"no series answers to '{wanted}'; the study has " + "; ".join(s.name for s in series[:_MAX_LISTED]),
        path=series[0].first.path,
        hint="Name a series by its number, its description or its SeriesInstanceUID.",
    )

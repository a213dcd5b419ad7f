"""Vertebral bodies and intervertebral discs, cut out of a sagittal scan as the papers cut them.

From the corners of the vertebral bodies to network input: scaled by the body's or disc's width, rotated in
the sagittal plane so that it lies horizontal, centered on its middle slice, slices kept as acquired and
zero-padded to a fixed number, intensities normalized by the adjacent vertebral bodies
[jamaludin2016spinenet, Disc volume extraction], [jamaludin2017ssl, Sec. 2.1]. What the papers leave open is
settled in [D-0015] (region), [D-0016] (slices), [D-0017] (resampling), [D-0018] (intensities) and [D-0019]
(the way back).

One name for both extractions; the classes live in their own files.
"""

from __future__ import annotations

from siamed.transforms.extract_disc import (
    DISC_SIZE,
    DISC_WIDTH_FRACTION,
    ExtractDisc,
    ExtractDiscd,
    extract_discs,
)
from siamed.transforms.extract_vertebral_body import (
    BODY_SIZE,
    BODY_WIDTH_FRACTION,
    ExtractVertebralBody,
    ExtractVertebralBodyd,
    extract_vertebral_bodies,
)
from siamed.transforms.extract_volume import map_to_scan

__all__ = [
    "BODY_SIZE",
    "BODY_WIDTH_FRACTION",
    "DISC_SIZE",
    "DISC_WIDTH_FRACTION",
    "ExtractDisc",
    "ExtractDiscd",
    "ExtractVertebralBody",
    "ExtractVertebralBodyd",
    "extract_discs",
    "extract_vertebral_bodies",
    "map_to_scan",
]

"""Write a label map as a DICOM segmentation that belongs to the scan's study.

A Segmentation object (PS3.3, A.51) with one binary segment a structure, in SNOMED CT's words, on the slices
of the source series that show one. It names the patient as its source does: it is made to be stored beside
it. Neither remarks nor errors of the libraries get out, both may quote the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom import seg
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from siamed import __version__
from siamed.pipeline.facts import BundleFacts
from siamed.pipeline.scans.dicom_objects import headers_of, identity, multi_frame, save
from siamed.pipeline.scans.scan import Scan

__all__ = ["write_segmentation"]

_SERIES = 9201
_KINDS = {
    "right kidney": Code("9846003", "SCT", "Right kidney"),
    "left kidney": Code("18639004", "SCT", "Left kidney"),
}


def write_segmentation(
    scan: Scan, labels: np.ndarray, names: Mapping[int, str], bundles: Sequence[BundleFacts], path: Path
) -> Path:
    """Write a segmentation.

    Args:
        scan: read from DICOM.
        labels: ``(I, J, K)`` on the scan's own voxels.
        names: value -> "right kidney" or "left kidney".
        bundles: that made it.
        path: the file, whole or not at all.

    Raises:
        CaseError: code ``not-dicom`` or ``dicom-not-written``.
        ValueError: if the labels have another shape, or none of the names.
    """
    if labels.shape != tuple(scan.image.shape[1:]):
        raise ValueError(
            f"labels must have the scan's shape {tuple(scan.image.shape[1:])}, got {labels.shape}"
        )
    shown = np.flatnonzero(labels.any((0, 1)))
    if not len(shown) or not names:
        raise ValueError("labels must hold a structure, they hold none")
    masks = np.stack([labels[:, :, shown].transpose(2, 1, 0) == value for value in names], axis=-1)
    algorithm = hd.AlgorithmIdentificationSequence(
        name="siamed",
        version=__version__,
        family=codes.cid7162.ArtificialIntelligence,
        parameters={b.name: f"{b.version}, weights {b.sha256[:16]}" for b in bundles},
    )
    with headers_of(scan) as sources:
        found = seg.Segmentation(
            **identity(_SERIES),
            **multi_frame(scan, sources, shown),
            pixel_array=masks.astype(np.uint8),
            segmentation_type=seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                seg.SegmentDescription(
                    segment_number=number,
                    segment_label=name,
                    segmented_property_category=codes.SCT.Organ,
                    segmented_property_type=_KINDS[name],
                    algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                    algorithm_identification=algorithm,
                )
                for number, name in enumerate(names.values(), 1)
            ],
            omit_empty_frames=True,
        )
        return save(found, "siamed kidneys, research use only", path)

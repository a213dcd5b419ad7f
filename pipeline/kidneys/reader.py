"""From a scan to the right and the left kidney: the road that ``siamed segment`` takes.

    scan -> probability of kidney on its own grid -> sides by place in the patient -> result

CT and MR have a network each, loaded when the first scan of its kind comes. Which one a scan is, DICOM says;
of other formats the values do, or whoever gives them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamed.pipeline.errors import CaseError
from siamed.pipeline.facts import BundleFacts, scan_facts, software
from siamed.pipeline.segmentation.inference import THRESHOLD
from siamed.transforms.split_kidneys import LEFT, RIGHT, KidneySplit, body_midline, split_kidneys

from .result import KidneyResult, Structure

if TYPE_CHECKING:
    from siamed.pipeline.scans import Scan
    from siamed.pipeline.segmentation.inference import Segmenter

__all__ = ["BUNDLES", "KidneyReader", "KidneyReading"]

BUNDLES: Mapping[str, str] = {"CT": "kidney_ct_segmentation", "MR": "kidney_mr_segmentation"}
"""Bundle for each modality."""

_NAMES = (("right kidney", RIGHT), ("left kidney", LEFT))
_USUAL_ML = (40.0, 500.0)  # outside: shrunken, swollen, full of tumors or cysts, or wrongly outlined


@dataclass(frozen=True)
class KidneyReading:
    """A result and what it was made from.

    Args:
        result: in the frame of the input file.
        scan: what was read.
        labels: ``(I, J, K)`` uint8 on the scan's own grid: 1 right, 2 left.
    """

    result: KidneyResult
    scan: Scan = field(repr=False)
    labels: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class _Loaded:
    segmenter: Segmenter
    facts: BundleFacts
    caution: str


class KidneyReader:
    """Read scans one after the other.

    Args:
        bundles: modality ("CT", "MR") -> name or folder of the bundle.
        device: a torch device.
        largest: keep the largest component of each side alone.
        tell: told what share of a scan is done, in (0, 1].
        modality: "CT" or "MR", of scans whose format does not say it; None looks at their values.
    """

    def __init__(
        self,
        bundles: Mapping[str, str | Path],
        device: str = "cpu",
        largest: bool = True,
        tell: Callable[[float], None] | None = None,
        modality: str | None = None,
    ) -> None:
        self.bundles, self.device, self.largest, self.tell = dict(bundles), device, largest, tell
        self.modality = modality
        self._loaded: dict[str, _Loaded] = {}

    def segment(self, scan: Scan) -> KidneyReading:
        """Find both kidneys.

        Raises:
            CaseError: code ``no-bundle`` for a modality without one, ``unknown-modality`` where neither the
                format nor the values tell it, ``localizer``, ``no-kidneys``.
        """
        modality, how = self._modality(scan)
        self._check(scan, modality)
        facts = scan_facts(scan)
        if how:
            facts = replace(facts, modality=modality, notes=(*facts.notes, f"taken for {modality}: {how}"))
        used = self._load(modality)
        affine = np.asarray(scan.image.affine, float)
        values = np.asarray(scan.image.as_tensor()[0])
        probability = used.segmenter(scan.image)
        split = split_kidneys(probability >= THRESHOLD, affine, body_midline(values, affine), self.largest)
        if not split.labels.any():
            raise CaseError(
                "no-kidneys",
                "no kidney was found in the scan",
                path=scan.source,
                hint="Check that the scan shows the kidneys, and that its header is right."
                + (f" It was taken for {modality}; --modality says what it is." if how else ""),
            )
        structures = tuple(_structures(split, affine))
        result = KidneyResult(
            scan=facts,
            bundles=(used.facts,),
            outcome=split.outcome,
            structures=structures,
            warnings=(*([used.caution] if used.caution else []), *_warnings(split, structures)),
            software=software(),
        )
        return KidneyReading(result, scan, split.labels)

    def _modality(self, scan: Scan) -> tuple[str, str]:
        """Modality, and by what it is known; nothing where the file says it."""
        from siamed.pipeline.scans import guess_modality

        if scan.modality != "unknown":
            return scan.modality, ""
        if self.modality is not None:
            return self.modality, "so it was said"
        guessed = guess_modality(scan)
        if guessed == "unknown":
            low, high = float(scan.image.min()), float(scan.image.max())
            raise CaseError(
                "unknown-modality",
                f"the file does not say whether it is CT or MR, and its values, {low:g} to {high:g}, do not "
                "tell: CT has air of -1000 HU, MR has nothing below 0",
                path=scan.source,
                hint="Say it: --modality CT or --modality MR. CT needs its Hounsfield units, not a window.",
            )
        return guessed, "air has Hounsfield units" if guessed == "CT" else "nothing in it is below 0"

    def _check(self, scan: Scan, modality: str) -> None:
        if scan.localizer:
            raise CaseError(
                "localizer",
                "the scan is a localizer, too coarse to segment",
                path=scan.source,
                hint="Give the axial series of the study.",
            )
        if modality not in self.bundles:
            raise CaseError(
                "no-bundle",
                f"the scan is {modality}, kidneys are segmented in {' and '.join(self.bundles)}",
                path=scan.source,
                hint=f"Give a scan that is {' or '.join(self.bundles)}.",
            )

    def _load(self, modality: str) -> _Loaded:
        if modality not in self._loaded:
            from siamed.pipeline.bundles import bundle_info, bundle_path
            from siamed.pipeline.segmentation.inference import Segmenter

            bundle = self.bundles[modality]
            metadata = json.loads((bundle_path(bundle) / "configs" / "metadata.json").read_text("utf-8"))
            self._loaded[modality] = _Loaded(
                Segmenter.from_bundle(bundle, self.device, self.tell),
                BundleFacts(**bundle_info(bundle)),
                str(metadata.get("caution", "")),
            )
        return self._loaded[modality]


def _structures(split: KidneySplit, affine: np.ndarray) -> list[Structure]:
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    axis = int(np.abs(affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())
    found = []
    for name, label in _NAMES:
        places = np.argwhere(split.labels == label)
        if not len(places):
            continue
        x, y, z = (round(float(v), 2) + 0.0 for v in affine[:3, :3] @ places.mean(0) + affine[:3, 3])
        found.append(
            Structure(
                name=name,
                label=label,
                volume_ml=round(len(places) * voxel_ml, 2),
                center_mm=(x, y, z),
                slices=(int(places[:, axis].min()), int(places[:, axis].max())),
                touches_edge=name.split()[0] in split.cut,
            )
        )
    return found


def _warnings(split: KidneySplit, structures: tuple[Structure, ...]) -> list[str]:
    said = []
    if split.outcome == "joined":
        said.append(
            "One structure lies on both sides of the midline, a horseshoe kidney or kidneys that touch: it "
            "was cut at the midline."
        )
    if split.outcome == "one_kidney":
        found = max(structures, key=lambda one: one.volume_ml)
        said.append(f"Only the {found.name} was found.")
    low, high = _USUAL_ML
    for one in structures:
        if one.touches_edge:
            said.append(f"The {one.name} reaches the end of the scan: its volume may be a part.")
        if not low <= one.volume_ml <= high:
            said.append(
                f"The {one.name} measures {one.volume_ml:.0f} ml, outside {low:.0f} to {high:.0f} ml: look "
                "at it."
            )
    return said

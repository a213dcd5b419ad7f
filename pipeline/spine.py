"""From a scan to named vertebrae and graded discs: the one road that every command takes.

    scan -> sagittal view -> column of vertebrae -> disc volumes -> grades -> result

Networks are loaded once, in :meth:`SpineReader.from_bundles`, and used for any number of scans. What comes
out is the :class:`~siamed.pipeline.results.SpineResult` in the frame of the input file, and beside it the
view, the column and the volumes, for pictures and for other uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamed.pipeline.changes import ScanChanges, compare_results
from siamed.pipeline.cuts import DISC_SLICES, Volumes, cut_bodies, cut_discs
from siamed.pipeline.devices import pick_device
from siamed.pipeline.errors import CaseError
from siamed.pipeline.facts import BundleFacts
from siamed.pipeline.results import SpineResult
from siamed.pipeline.spine_result import (
    FileFrame,
    agreement_warning,
    detection_result,
    grade_result,
    uncut_warning,
)

if TYPE_CHECKING:
    import torch
    from monai.data import MetaTensor

    from siamed.pipeline.detection.vertebra import Column
    from siamed.pipeline.grading.hotspots import EvidenceHotspots, Hotspots
    from siamed.pipeline.pairs.encoder import BodyEncoder, Embeddings
    from siamed.pipeline.scans import Scan

    Detector = Callable[[MetaTensor], Column]
    Grader = Callable[[torch.Tensor], Sequence[Mapping[str, Mapping[str, Any]]]]

__all__ = [
    "DETECTION_BUNDLE",
    "ENCODING_BUNDLE",
    "GRADING_BUNDLE",
    "SpineReader",
    "SpineReading",
]

DETECTION_BUNDLE = "spine_mr_vertebra_detection"
GRADING_BUNDLE = "spine_mr_disc_grading"
ENCODING_BUNDLE = "spine_mr_siamese_pretraining"
_LOOK_HINT = "Look at what `siamed detect` finds; the scan may not be one the detector was made for."


@dataclass(frozen=True)
class SpineReading:
    """A result and what it was made from.

    Args:
        result: in the frame of the input file.
        scan: what was read.
        view: ``(1, D, H, W)`` in LIP.
        column: the detection, in canonical slices.
        slice_numbers: for each canonical slice its index in the file, which may count the other way.
        discs: the extracted discs; the graded ones with the margin that views move in.
        bodies: the extracted vertebral bodies, empty unless asked for.
        extracted: the volumes themselves were asked for, to be kept.
        embeddings: of the bodies, where asked for.
        hotspots: where the evidence of each grade lies, where asked for; maps on the grid of ``discs``.
        changes: against earlier scans, in the order in which they were given.
    """

    result: SpineResult
    scan: Scan = field(repr=False)
    view: MetaTensor = field(repr=False)
    column: Column = field(repr=False)
    slice_numbers: tuple[int, ...] = field(repr=False)
    discs: Volumes = field(default_factory=lambda: Volumes("ivd"))
    bodies: Volumes = field(default_factory=lambda: Volumes("vb"))
    extracted: bool = False
    embeddings: Embeddings | None = field(default=None, repr=False)
    hotspots: Hotspots | None = field(default=None, repr=False)
    changes: tuple[ScanChanges, ...] = ()

    def compared(self, earlier: Sequence[SpineResult]) -> SpineReading:
        """The same with what changed since earlier gradings; what is to be said of them is warned of."""
        changes = tuple(compare_results(one, self.result) for one in earlier)
        remarks = tuple(f"Compared with {one.scan_id}: {text}" for one in changes for text in one.remarks)
        result = replace(self.result, warnings=self.result.warnings + remarks)
        return replace(self, result=result, changes=changes)


class SpineReader:
    """Read scans one after the other with the same networks.

    Args:
        detector: maps a sagittal view to a column.
        grader: maps disc volumes ``(N, 1, 9, 160, 320)``, 9 x 112 x 224 with a margin, to N dicts task ->
            grade; one that has a ``depth`` above 9 gets so many slices. None where grades are not wanted.
        bundles: name, version and hash of the bundles behind them.
        encoder: embeds vertebral bodies; None where that is not wanted.
        hotspots: maps the evidence of grades; None where that is not wanted.

    Example:
        >>> reader = SpineReader.from_bundles(device="cpu")  # doctest: +SKIP
        >>> reader.grade(read_scan("scan.nii.gz")).result.discs[0].grades["pfirrmann"].grade  # doctest: +SKIP
        3
    """

    def __init__(
        self,
        detector: Detector,
        grader: Grader | None = None,
        bundles: Sequence[BundleFacts] = (),
        encoder: BodyEncoder | None = None,
        hotspots: EvidenceHotspots | None = None,
    ) -> None:
        self.detector = detector
        self.grader = grader
        self.encoder = encoder
        self.hotspots = hotspots
        self.bundles = tuple(bundles)

    @classmethod
    def from_bundles(
        cls,
        detection: str | Path = DETECTION_BUNDLE,
        grading: str | Path | None = GRADING_BUNDLE,
        device: str = "cpu",
        encoding: str | Path | None = None,
        hotspot_views: int = 0,
    ) -> SpineReader:
        """Load the networks.

        Args:
            detection: name or folder of the detection bundle.
            grading: name or folder of the grading bundle; None for none.
            device: a torch device, or "auto" for the best there is.
            encoding: name or folder of the Siamese bundle; None for none.
            hotspot_views: random views whose maps are averaged to a hotspot; 0 for no hotspots.
        """
        from siamed.pipeline.bundles import bundle_hparams, bundle_info
        from siamed.pipeline.detection import VertebraDetector

        place = pick_device(device)
        names: list[str | Path] = [detection]
        detector, grader, hotspots = VertebraDetector.from_bundle(detection, place), None, None
        if grading is not None:
            from siamed.pipeline.grading import DiscGrader

            grader = DiscGrader.from_bundle(grading, place)
            names.append(grading)
            if hotspot_views:
                from siamed.pipeline.grading.hotspots import EvidenceHotspots

                hotspots = EvidenceHotspots(grader, bundle_hparams(grading), hotspot_views)
        encoder = None
        if encoding is not None:
            from siamed.pipeline.pairs.encoder import BodyEncoder

            encoder = BodyEncoder.from_bundle(encoding, place)
            names.append(encoding)
        noise = {}
        if grading is not None and grader is not None and grader.calibration is not None:
            noise[grading] = dict(grader.calibration.repeatability)
        facts = [BundleFacts(**bundle_info(name), repeatability=noise.get(name, {})) for name in names]
        return cls(detector, grader, facts, encoder, hotspots)

    def detect(self, scan: Scan) -> SpineReading:
        """Find and name the vertebrae.

        Raises:
            CaseError: what :func:`~siamed.pipeline.scans.sagittal_view` raises, and code ``no-vertebrae``.
        """
        from siamed.pipeline.scans import sagittal_view

        view = sagittal_view(scan)
        column = self.detector(view)
        if not column.vertebrae:
            raise CaseError(
                "no-vertebrae",
                "no vertebra was found in the scan",
                path=scan.source,
                hint="Check that the scan shows the lumbar spine in sagittal slices.",
            )
        frame = FileFrame(scan, view)
        numbers = tuple(frame.slice_number(d) for d in range(int(view.shape[1])))
        return SpineReading(detection_result(scan, frame, column, self.bundles), scan, view, column, numbers)

    def extract(self, scan: Scan) -> SpineReading:
        """Find the vertebrae, cut out their bodies and the discs between them.

        Bodies cut by the edge of the scan are left out.

        Raises:
            CaseError: as :meth:`detect`, and code ``no-volumes`` where nothing can be cut out.
        """
        found = self.detect(scan)
        discs = cut_discs(found.view, found.column)
        bodies, uncut_bodies = _whole_bodies(found)
        if not (discs.images or bodies.images):
            raise _no_volumes(scan, found)
        uncut = uncut_warning(found.result.discs, range(len(found.column.discs)), discs) + uncut_bodies
        result = replace(found.result, warnings=found.result.warnings + uncut)
        return replace(found, result=result, discs=discs, bodies=bodies, extracted=True)

    def embed(self, scan: Scan) -> SpineReading:
        """Find the vertebrae and embed their bodies, those cut by the edge of the scan apart.

        Raises:
            CaseError: as :meth:`detect`, and code ``no-volumes`` where no body can be cut out.
            ValueError: if the reader has no encoder.
        """
        if self.encoder is None:
            raise ValueError("encoder must be given to embed bodies, got None")
        import torch

        from siamed.pipeline.pairs.encoder import Embeddings

        found = self.detect(scan)
        bodies, uncut = _whole_bodies(found)
        if not bodies.images:
            raise _no_volumes(scan, found)
        embedded = Embeddings(
            level=np.array([found.column.vertebrae[i].level or "" for i in bodies.indices]),
            embedding=self.encoder(torch.stack([image.as_tensor() for image in bodies.images])),
            sequence=scan.sequence,
            encoder=self.encoder.sha256,
        )
        result = replace(found.result, warnings=found.result.warnings + uncut)
        return replace(found, result=result, embeddings=embedded)

    def grade(self, scan: Scan) -> SpineReading:
        """Find the vertebrae, cut out the discs and grade them; map the evidence where the reader can.

        Raises:
            CaseError: as :meth:`detect`, and code ``no-discs`` where no disc has both plates in view.
            ValueError: if the reader has no grader.
        """
        if self.grader is None:
            raise ValueError("grader must be given to grade discs, got None")
        import torch

        from siamed.transforms.extract_volume import VIEW_MARGIN_PX

        found = self.detect(scan)
        if not found.column.discs:
            raise CaseError(
                "no-discs",
                f"{len(found.column.vertebrae)} vertebrae were found, no disc has both its plates in view",
                path=scan.source,
                hint="Give a scan that shows the lumbar discs whole.",
            )
        slices = max(DISC_SLICES, getattr(self.grader, "depth", DISC_SLICES))
        discs = cut_discs(found.view, found.column, VIEW_MARGIN_PX, slices)
        if not discs.images:
            raise CaseError(
                "no-discs",
                f"none of the {len(found.column.discs)} discs found has the outline of a disc",
                path=scan.source,
                hint=_LOOK_HINT,
            )
        volumes = torch.stack([image.as_tensor() for image in discs.images])
        answers = self.grader(volumes)
        if len(answers) != len(discs.images):
            raise ValueError(
                f"grader must give one answer a disc: {len(discs.images)} discs, {len(answers)} answers"
            )
        grades = dict(zip(discs.indices, answers, strict=True))
        result = replace(
            found.result,
            discs=tuple(
                replace(disc, grades={task: grade_result(given) for task, given in grades.get(i, {}).items()})
                for i, disc in enumerate(found.result.discs)
            ),
            warnings=found.result.warnings
            + uncut_warning(found.result.discs, range(len(found.column.discs)), discs),
        )
        result = replace(result, warnings=result.warnings + agreement_warning(result.agreement))
        reading = replace(found, result=result, discs=discs)
        if self.hotspots is None:
            return reading
        given = [{task: int(one["grade"]) for task, one in answer.items()} for answer in answers]
        return replace(reading, hotspots=self.hotspots(volumes, given))


def _whole_bodies(found: SpineReading) -> tuple[Volumes, tuple[str, ...]]:
    """The bodies that the edge of the scan does not cut, and a warning of those that could not be cut out."""
    whole = [i for i, v in enumerate(found.column.vertebrae) if not v.partial]
    bodies = cut_bodies(found.view, found.column, whole)
    return bodies, uncut_warning(found.result.vertebrae, whole, bodies)


def _no_volumes(scan: Scan, found: SpineReading) -> CaseError:
    return CaseError(
        "no-volumes",
        f"of {len(found.column.vertebrae)} vertebrae found none is whole and has the outline of one",
        path=scan.source,
        hint=_LOOK_HINT,
    )

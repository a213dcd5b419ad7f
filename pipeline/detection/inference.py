"""The detector as a MONAI evaluator runs it: scans of a folder in, one JSON file a scan out."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import nn

from siamed.pipeline.errors import CaseError
from siamed.pipeline.experiments.files import write_json
from siamed.pipeline.scans import check_spine_scan, find_cases, read_scan, sagittal_view

from .decode import DecodeSettings
from .detector import VertebraDetector
from .linking import LinkSettings
from .vertebra import Column

__all__ = ["ColumnInferer", "LoadSagittalViewd", "SaveColumns", "scan_items"]

log = logging.getLogger(__name__)


def scan_items(path: str | Path) -> list[dict[str, Any]]:
    """One item a readable sagittal scan; others are logged with their reason and left out.

    Args:
        path: a file, a series, a study, or a folder of them.
    """
    items = []
    for case in find_cases(path):
        try:
            check_spine_scan(read_scan(case))
        except CaseError as error:
            log.warning("%s left out: %s", case.case_id, error)
            continue
        items.append({"image": case, "case_id": case.case_id})
    return items


class LoadSagittalViewd(MapTransform):
    """Replace a case by the sagittal view of its scan, a MetaTensor ``(1, D, H, W)`` in orientation LIP."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = sagittal_view(read_scan(result[key]))
        return result


class ColumnInferer(Inferer):
    """Run the whole detector on one volume a batch.

    Args:
        hparams: of the bundle: view_spacing_mm, percentile, decode, link.
    """

    def __init__(self, hparams: Mapping[str, Any]) -> None:
        super().__init__()
        self.hparams = dict(hparams)

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[Column]:
        detector = VertebraDetector(
            network,
            view_spacing_mm=self.hparams["view_spacing_mm"],
            percentile=self.hparams["percentile"],
            device=inputs.device,
            decode=DecodeSettings(**self.hparams.get("decode", {})),
            link=LinkSettings(**self.hparams.get("link", {})),
        )
        return [detector(image) for image in inputs]


class SaveColumns:
    """Write each column as ``<case_id>.json``: levels, probabilities, corners in mm RAS+, warnings.

    Args:
        output_dir: folder, made if missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir)

    def attach(self, engine: Any) -> None:
        """Register on an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for case_id, column in zip(engine.state.batch["case_id"], engine.state.output["pred"], strict=True):
            write_json(self.folder / f"{case_id}.json", _content(column))
            log.info("%s: %d vertebrae, %d discs", case_id, len(column.vertebrae), len(column.discs))


def _content(column: Column) -> dict[str, Any]:
    return {
        "vertebrae": [
            {
                "level": v.level,
                "level_probability": round(v.level_probability, 4),
                "score": round(v.score, 4),
                "partial": v.partial,
                "flags": list(v.flags),
                "corners_mm": np.round(v.corners_mm, 2).tolist(),
                "slices": list(v.slices),
            }
            for v in column.vertebrae
        ],
        "discs": [{"level": d.level, "center_mm": np.round(d.center_mm, 2).tolist()} for d in column.discs],
        "warnings": list(column.warnings),
    }

"""Overlays to be looked at: which discs are drawn, and where their hotspots lie."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.grading import DiscGrader, hotspot_overlays
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.grading.hotspots import EvidenceHotspots
from siamed.pipeline.grading.tasks import MISSING, TASKS


class Corners(nn.Module):
    """Modic changes for what is bright in the upper left corner, bulging for the lower right; Pfirrmann 3."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        left = volume[..., :20, :40].mean((1, 2, 3, 4))[:, None]
        right = volume[..., -20:, -40:].mean((1, 2, 3, 4))[:, None]
        flat = volume.mean((1, 2, 3, 4))[:, None]
        pfirrmann = torch.cat([flat, flat, flat + 9, flat, flat], 1)
        modic = torch.cat([torch.full_like(left, 0.5), left, left * 0, left * 0], 1)
        return torch.cat([pfirrmann, modic, 0.5 - right, right], 1)


@pytest.fixture
def hotspots() -> EvidenceHotspots:
    grader = DiscGrader(Corners(), ["pfirrmann", "modic", "bulging"], 1, (112, 224), (56, 112))
    return EvidenceHotspots(grader, {}, 1)


def crops() -> DiscCrops:
    images = np.full((4, 1, 160, 320), 0.2, np.float16)
    images[2, :, :80, :160] = 0.9  # the only one in which the network sees Modic changes
    grades = np.full((4, len(TASKS)), MISSING, np.int16)
    grades[:, list(TASKS).index("modic")] = [0, 1, 1, 0]
    folds = json.loads((bundle_path("spine_mr_disc_grading") / "configs/folds.json").read_text())["folds"]
    names = np.array([str(folds[0][0])] * 4)
    return DiscCrops(images, grades, names, names, np.array(["T2"] * 4), np.arange(4), tuple(TASKS), {})


def test_a_disc_is_drawn_in_which_reader_and_network_agree(hotspots: EvidenceHotspots) -> None:
    (overlay,) = hotspot_overlays.overlays_of_fold(crops(), hotspots, ["modic", "bulging"], 0)
    assert (overlay.task, overlay.disc, overlay.said, overlay.truth) == ("modic", 2, 1, 1)
    assert overlay.image.shape == (112, 224)
    assert list(overlay.maps) == ["modic", "pfirrmann", "bulging"]
    row, column = np.unravel_index(overlay.maps["modic"].argmax(), (112, 224))
    assert row < 45
    assert column < 85
    row, column = np.unravel_index(overlay.maps["bulging"].argmax(), (112, 224))
    assert row > 67
    assert column > 139


def test_where_the_network_sees_none_any_marked_disc_is_drawn(hotspots: EvidenceHotspots) -> None:
    dark = crops()
    dark.images[:] = 0.2
    (overlay,) = hotspot_overlays.overlays_of_fold(dark, hotspots, ["modic"], 0)
    assert overlay.disc in (1, 2)
    assert (overlay.said, overlay.truth) == (0, 1)


def test_the_command_draws_and_lists_the_discs(tmp_path: Path) -> None:
    file, out = crops().save(tmp_path / "crops.npz"), tmp_path / "overlays.png"
    assert hotspot_overlays.main(["--crops_file", str(file), "--out", str(out), "--samples", "1"]) == 0
    assert out.stat().st_size > 1000
    with out.with_suffix(".csv").open() as listed:
        (row,) = csv.DictReader(listed)
    assert (row["task"], row["reader"]) == ("modic", "1")
    with pytest.raises(SystemExit, match="none was found"):
        hotspot_overlays.main(["--crops_file", str(file), "--out", str(out), "--sequences", "T1"])

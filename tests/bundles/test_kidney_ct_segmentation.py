"""What is the kidney bundles' own: one kidney keeps its side, KiTS19's folder trains the paper's setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn
from toy.kidney_ct import kidney_ct, kidney_mr

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kidney_ct_segmentation" / "configs"


class BrightOfAll(nn.Module):
    """Stands for a segmenting network: kidney is the brighter half of what the window leaves."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, ``(B, 1, D, H, W)``."""
        return image - (image.min() + image.max()) / 2


@pytest.mark.parametrize(
    ("bundle", "phantom", "dark"),
    [("kidney_ct_segmentation", kidney_ct, -60.0), ("kidney_mr_segmentation", kidney_mr, 40.0)],
)
def test_monais_own_road_keeps_a_single_kidney_and_its_side(
    bundle: str, phantom: Callable[..., tuple[np.ndarray, ...]], dark: float, tmp_path: Path
) -> None:
    image, affine, truth = phantom("LPS", right=False)
    # Nothing brighter than the kidney: neither spine nor table.
    image = np.where(truth > 0, 200.0, np.minimum(image, dark)).astype(np.float32)
    (tmp_path / "scans").mkdir()
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "scans" / "a.nii.gz")
    made = ConfigWorkflow(
        str(CONFIGS.parents[1] / bundle / "configs" / "inference.yaml"),
        logging_file=False,
        workflow_type="infer",
        dataset_dir=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        network=BrightOfAll(),
        inferer={"_target_": "SimpleInferer"},
        handlers=[],
    )
    made.initialize()
    made.run()
    written = nibabel.load(tmp_path / "out" / "a_kidneys.nii.gz")
    assert np.allclose(written.affine, affine)
    found = np.asarray(written.dataobj)
    assert set(np.unique(found)) == {0, 2}
    assert ((found == 2) & (truth == 2)).sum() > 0.9 * (truth == 2).sum()


def test_a_folder_of_kits19_trains_the_papers_setting(tmp_path: Path) -> None:
    image, affine, truth = kidney_ct("LPI")
    for case in ("case_00005", "case_00000", "case_00001"):  # one of fold 0, two of others
        folder = tmp_path / "kits19" / case
        folder.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imaging.nii.gz")
        nibabel.save(
            nibabel.Nifti1Image((truth > 0).astype(np.uint8), affine), folder / "segmentation.nii.gz"
        )
    small = {f"hparams#{name}": 4 for name in ("width", "growth", "group_size", "decoder_width")}
    training = ConfigWorkflow(
        [str(CONFIGS / "train.yaml"), str(CONFIGS / "kits19.yaml")],
        logging_file=False,
        workflow_type="train",
        dataset_dir=str(tmp_path / "kits19"),
        output_dir=str(tmp_path / "out"),
        tracking_uri=f"sqlite:///{tmp_path}/runs.db",
        device="cpu",
        val_interval=1,
        watch_every=1,
        **small,
        **{"hparams#max_epochs": 1, "hparams#crops_per_epoch": 2, "hparams#spacing_mm": [6.0, 6.0, 6.0]},
    )
    training.initialize()
    training.run()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "FINISHED"
    assert np.isfinite(record["best_metric"]["value"])
    parser = training.parser
    optimizer = parser.get_parsed_content("optimizer")
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (1e-3, 1e-2)
    # A whole volume, in the network's axes, padded to multiples of 16: 36 x 5 mm, 64 x 3 mm, 90 x 3 mm.
    seen = next(iter(parser.get_parsed_content("train#dataloader")))["image"]
    assert tuple(seen.shape) == (1, 1, 32, 32, 48)

"""What is the side proxies' own: their encoder fits the segmentation, and the paper's setting trains."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow
from toy.samples import SAMPLES

from siamed.pipeline.bundles import bundle_hparams
from siamed.pipeline.experiments.transfer import passport

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kidney_ct_siamese_pretraining" / "configs"


def test_the_segmentation_takes_the_proxys_encoder_in_the_shipped_and_in_the_printed_setting() -> None:
    proxy, segmentation = (
        bundle_hparams(f"kidney_ct_{name}") for name in ("siamese_pretraining", "segmentation")
    )
    assert passport(proxy) == passport(segmentation)
    printed = []
    for hparams, name in ((proxy, "paper"), (segmentation, "kits19")):
        folder = CONFIGS if name == "paper" else CONFIGS.parents[1] / "kidney_ct_segmentation" / "configs"
        overlay = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        own = {key.split("#")[1]: value for key, value in overlay.items() if key.startswith("hparams#")}
        printed.append(passport({**hparams, **own}))
    assert printed[0] == printed[1]
    assert printed[0]["spacing_mm"] == [3.22, 1.62, 1.62]


def test_the_papers_setting_trains_one_pair_at_a_time_without_augmentation(tmp_path: Path) -> None:
    sample = SAMPLES["kidney_ct_siamese_pretraining"](tmp_path / "data")
    training = ConfigWorkflow(
        [str(CONFIGS / "train.yaml"), str(CONFIGS / "paper.yaml")],
        logging_file=False,
        workflow_type="train",
        output_dir=str(tmp_path / "out"),
        tracking_uri=f"sqlite:///{tmp_path}/runs.db",
        device="cpu",
        dataset_dir=sample.train["dataset_dir"],
        **{f"hparams#{name}": 1 for name in ("max_epochs",)},
        **{f"hparams#{name}": 4 for name in ("width", "growth", "group_size", "watched_pairs")},
        **{"hparams#pairs_per_epoch": 2},
    )
    training.initialize()
    training.run()
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["status"] == "FINISHED"
    content = training.parser.get_parsed_content
    assert type(content("optimizer")) is torch.optim.Adam
    assert content("contrastive").squared
    assert not content("network_def").normalize
    data = content("train#dataset")
    data.set_random_state(seed=0)
    pairs = data.pairs
    assert torch.equal(data[0]["image"][0].float(), content("train#volumes")[pairs.first[0]].float())
    assert next(iter(content("train#dataloader")))["image"].shape[:2] == (1, 2)

"""What is the MR bundle's own: an encoder that fits, two labels that are one structure, an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from toy.kidney_ct import kidney_mr
from toy.samples import SAMPLES

from siamed.networks.dense_unet import DenseUNet
from siamed.pipeline.bundles import bundle_hparams, bundle_path, load_weights
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.train_bundle import check_entries
from siamed.pipeline.experiments.transfer import passport, with_pretrained_trunk
from siamed.pipeline.kidneys.label_scores import KidneyScorer
from siamed.pipeline.label_efficiency.config import read_experiment

NAME, PROXY = "kidney_mr_segmentation", "kidney_mr_siamese_pretraining"
CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / NAME / "configs"


def network() -> DenseUNet:
    hparams = bundle_hparams(NAME)
    names = ("width", "growth", "layers", "group_size", "decoder_width")
    return DenseUNet(**{name: hparams[name] for name in names})


def training(data: Path, out: Path, **overrides: Any) -> ConfigParser:
    made = ConfigWorkflow(
        str(CONFIGS / "train.yaml"),
        logging_file=False,
        workflow_type="train",
        dataset_dir=str(data),
        output_dir=str(out),
        device="cpu",
        **overrides,
    )
    made.initialize()
    return made.parser


def test_the_encoder_of_the_side_proxy_loads_by_its_passport(tmp_path: Path) -> None:
    assert passport(bundle_hparams(NAME)) == passport(bundle_hparams(PROXY))
    SAMPLES[NAME](tmp_path)
    made = training(tmp_path, tmp_path / "out", pretrained=PROXY, fold=0).get_parsed_content("network")
    its = load_weights(bundle_path(PROXY) / "models" / "model.pt")
    own = made.state_dict()
    trunk = [name for name in own if name.startswith("trunk.")]
    assert trunk
    assert all(torch.equal(own[name], its[name]) for name in trunk)


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        (
            PROXY,
            {"spacing_mm": [7.7, 3.0, 3.0]},
            r"spacing_mm: \[7.7, 4.0, 4.0\] there, \[7.7, 3.0, 3.0\] here",
        ),
        (PROXY, {"surroundings_mm": 30.0}, "surroundings_mm: 200.0 there, 30.0 here"),
        (PROXY, {"bright": [99.0, 1.0]}, r"bright: \[90.0, 2.0\] there, \[99.0, 1.0\] here"),
        ("kidney_ct_siamese_pretraining", {}, r"window_hu: \[-80, 300\] there, None here"),
    ],
)
def test_an_encoder_of_other_voxels_or_intensities_is_refused(
    source: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        with_pretrained_trunk(network(), {**bundle_hparams(NAME), **changes}, source, freeze=False)


def test_both_kidneys_are_one_structure_and_other_organs_are_none(tmp_path: Path) -> None:
    SAMPLES[NAME](tmp_path)
    parser = training(tmp_path, tmp_path / "out", fold=0, **{"hparams#intensity_prob": 0.0})
    _, affine, truth = kidney_mr()
    voxel_ml = [abs(np.linalg.det(affine)), np.prod(bundle_hparams(NAME)["spacing_mm"])]
    cached = parser.get_parsed_content("train#cached")[0]["label"]
    assert set(np.unique(cached)) == {0, 1}
    assert float(cached.sum()) * voxel_ml[1] == pytest.approx((truth > 0).sum() * voxel_ml[0], rel=0.15)
    data = parser.get_parsed_content("train#dataset")
    np.random.seed(0)
    data.transform.set_random_state(seed=0)
    for _ in range(5):
        (item,) = data[0]
        image, (label, target) = item["image"][0], item["label"]
        assert tuple(image.shape) == (48, 80, 80)
        assert torch.equal(target, image)
        # Turned, scaled and moved together: the label lies on what is bright.
        assert set(label.unique().tolist()) == {0, 1}
        assert image[label > 0].mean() > image[label == 0].mean() + 1


def test_its_folds_are_those_of_the_proxy() -> None:
    own, its = (bundle_path(name) / "configs" / "folds.json" for name in (NAME, PROXY))
    assert own.read_bytes() == its.read_bytes()


def test_the_experiment_pretrains_on_each_folds_own_patients() -> None:
    given = {"dataset_dir": "SCANS", "volumes": "CUT", "volumes_without_labels": "MIRRORED"}
    experiment = read_experiment(CONFIGS / "label_efficiency.yaml", given)
    assert {name: arm.source for name, arm in experiment.arms.items()} == {
        "scratch": None,
        "siamese": "same_side",
        "siamese_without_labels": "same_side_without_labels",
    }
    assert {name: source.options for name, source in experiment.sources.items()} == {
        "same_side": {"dataset_dir": "CUT"},
        "same_side_without_labels": {"dataset_dir": "MIRRORED"},
    }
    assert {source.bundle for source in experiment.sources.values()} == {PROXY}
    assert (experiment.options["dataset_dir"], experiment.options["labels"]) == ("SCANS", [2, 3])
    check_entries("options", NAME, experiment.options)
    assert isinstance(experiment.scorer, KidneyScorer)
    assert (experiment.scorer.dataset_dir, experiment.scorer.labels) == ("SCANS", [2, 3])
    assert (experiment.folds, experiment.seeds) == ((0, 1, 2, 3), (0, 1, 2))
    training_subjects = len(fold_parts(experiment.split, 0, "training"))
    assert [budget.of(training_subjects) for budget in experiment.budgets] == [1, 2, 4, 8, 12]


def test_the_experiment_by_epoch_takes_its_pretrainings_and_its_own_steps() -> None:
    given = {"dataset_dir": "SCANS", "pretrained": "OUT/sources/same_side/fold_{fold}"}
    experiment = read_experiment(CONFIGS / "by_epoch.yaml", given)
    assert experiment.sources["same_side"].run == "OUT/sources/same_side/fold_{fold}"
    assert {name: arm.source for name, arm in experiment.arms.items()} == {
        "scratch": None,
        "siamese": "same_side",
    }
    assert experiment.options == {"dataset_dir": "SCANS", "labels": [2, 3], "hparams#max_epochs": 6}
    check_entries("options", NAME, experiment.options)
    assert (experiment.folds, experiment.seeds) == ((0, 1, 2, 3), (0, 1, 2))

"""Every self-supervised task of the bundle: its items, network, loss, score and picture fit each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.data.utils import list_data_collate
from monai.transforms import Compose
from toy.samples import SAMPLES

from siamed.pipeline.bundles import bundle_parser, bundle_path
from siamed.pipeline.pretexts.figures import draw_items
from siamed.pipeline.pretexts.pretrain import find_pretexts

BUNDLE = "abdomen_mr_ssl_pretraining"
TASKS = find_pretexts(BUNDLE)
# Bodies of the sample are 48 x 48 pixels of 4 mm and 12 slices.
SMALL: dict[str, Any] = {
    "features": [8, 16],
    "divisor": [1, 2, 2],
    "crop": [3, 32, 32],
    "spacing_mm": [7.7, 4.0, 4.0],
    "watched_items": 4,
    "cube": [3, 12, 12],
    "gap": [1, 2, 2],
    "jitter": [1, 2, 2],
    "patch": [16, 16],
    "largest_offset": 8,
    "box": [4, 4],
    "largest_box": [8, 8],
    "adversary_channels": 4,
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> str:
    return SAMPLES[BUNDLE](tmp_path_factory.mktemp("scans")).train["dataset_dir"]


def parsed(task: str, scans: str) -> ConfigParser:
    parser = bundle_parser(BUNDLE, "train", overlays=TASKS[task])
    for name, value in SMALL.items():
        if f"hparams#{name}" in parser:
            parser[f"hparams#{name}"] = value
    parser["dataset_dir"] = scans
    parser["device"] = torch.device("cpu")
    return parser


def test_there_are_ten_and_one_needs_no_overlay() -> None:
    assert len(TASKS) == 10
    assert [name for name, overlays in TASKS.items() if not overlays] == ["masked_pixels"]
    assert all(overlays in ((), (name,)) for name, overlays in TASKS.items())


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_task_is_put_together_from_parts_that_fit(task: str, scans: str) -> None:
    torch.manual_seed(0)
    parser = parsed(task, scans)
    dataset = parser.get_parsed_content("validate#dataset")
    again = parser.get_parsed_content("validate#dataset")
    items = [dataset[place] for place in range(4)]
    assert all(torch.equal(item["image"], again[place]["image"]) for place, item in enumerate(items))
    batch = list_data_collate(items)
    network = parser.get_parsed_content("network").train()
    pred = network(batch["image"])
    loss = parser.get_parsed_content("loss_function")(pred, batch["label"])
    loss.backward()
    gradients = [p.grad for p in network.trunk.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    score = parser.get_parsed_content("pretext#score")
    rows = score.rows(pred.detach(), batch["label"])
    assert rows.shape[1] == 2
    assert 0 <= score.chance(rows) <= 0.5
    assert score.score(rows) <= 1
    shown = [{**item, "pred": answer.detach()} for item, answer in zip(items, pred, strict=True)]
    picture = parser.get_parsed_content("pretext#picture")
    assert len(draw_items(picture, shown).axes) >= len(draw_items(picture, items).axes) >= len(items)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_sizes_as_they_are_configured_go_through_the_network(task: str) -> None:
    parser = bundle_parser(BUNDLE, "train", overlays=TASKS[task])
    parser["device"] = torch.device("cpu")
    # A scan of CHAOS after preprocessing: to inferior, to posterior, to the left.
    affine = torch.zeros(4, 4)
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -7.7, -4.0, -4.0, 1.0
    scan = MetaTensor(torch.rand(1, 36, 96, 96), affine=affine)
    item = Compose(parser.get_parsed_content("pretext#transforms"))({"image": scan})
    with torch.no_grad():
        pred = parser.get_parsed_content("network").eval()(item["image"][None])
    assert torch.isfinite(pred).all()


def test_the_adversary_is_saved_with_the_training(scans: str, tmp_path: Path) -> None:
    parser = parsed("in_painting_adversary", scans)
    parser["output_dir"] = str(tmp_path)
    checkpoints = parser.get_parsed_content("train#handlers#0")
    assert checkpoints.objects["loss"] is parser.get_parsed_content("loss_function")


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_path(BUNDLE), tmp_path / BUNDLE)
    shutil.copy(copy / "configs" / "rotation.yaml", copy / "configs" / "turning.yaml")
    with pytest.raises(ValueError, match=r"'rotation' is that of rotation.yaml and of turning.yaml"):
        find_pretexts(copy)

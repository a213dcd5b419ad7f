"""Handing convolutions over: what must agree, what is taken, what a frozen trunk keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from siamed.networks.dense_unet import DenseUNet
from siamed.networks.pretext_net import PixelHead, PretextNet
from siamed.networks.siamese_dense import SiameseDense
from siamed.networks.siamese_vgg_m import SiameseVGGM
from siamed.networks.unet import UNet, UNetDecoder, UNetEncoder
from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.experiments.files import sha256_of, write_json
from siamed.pipeline.experiments.transfer import check_left_out, load_trunk, passport, with_pretrained_trunk

TRUNK = {"slices": 1, "width": 0.05, "batch_norm": True, "conv2_stride": 1}
SOURCE = {**TRUNK, "volumetric": True, "field_px": [96, 96], "input_size": [48, 48]}
TARGET = {**TRUNK, "field_px": [48, 96], "input_size": [24, 48]}


def siamese() -> SiameseVGGM:
    sizes = {"levels": 7, "hidden": 8, "embedding": 6, "dropout": 0.0, "pool5": True, "normalize": True}
    return SiameseVGGM(spatial_size=(48, 48), volumetric=True, **TRUNK, **sizes)


def grader(**changes) -> MultiTaskVGGM:
    torch.manual_seed(1)
    return MultiTaskVGGM(
        [5, 2], spatial_size=(24, 48), hidden=8, dropout=0.0, pool5=False, **TRUNK, **changes
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished pretraining."""
    torch.manual_seed(0)
    network = siamese()
    network(torch.rand(4, 2, 1, 48, 48))  # running statistics other than the initial ones
    torch.save({"network": network.state_dict()}, tmp_path / "latest.pt")
    (tmp_path / "run.json").write_text(json.dumps({"name": "siamese_1", "hparams": SOURCE}), encoding="utf-8")
    return tmp_path


def test_the_trunk_is_taken_and_nothing_else(run: Path) -> None:
    network, before = grader(), grader().state_dict()
    report = load_trunk(network, TARGET, run)
    given = torch.load(run / "latest.pt", weights_only=True)["network"]
    after = network.state_dict()
    assert report.source == "siamese_1"
    assert set(report.loaded) == {key for key in after if key.startswith("trunk.")}
    assert all(torch.equal(after[key], given[key]) for key in report.loaded)
    assert any(not torch.equal(after[key], before[key]) for key in report.loaded)
    assert all(torch.equal(after[key], before[key]) for key in report.own)
    assert set(report.left) == {key for key in given if key.startswith("fc")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.1}, r"width: 0.05 there, 0.1 here"),
        ({"slices": 9}, r"slices: 1 there, 9 here"),
        ({"input_size": [12, 24]}, r"pixel: \[2.0, 2.0\] there, \[4.0, 4.0\] here"),
        (
            {"conv2_stride": 2, "batch_norm": False},
            r"batch_norm: True there, False here; conv2_stride: 1 there",
        ),
    ],
)
def test_another_trunk_or_pixel_is_refused_with_what_differs(
    run: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"siamese_1 differs in .*{message}"):
        load_trunk(grader(), {**TARGET, **change}, run)


def test_three_dimensional_kernels_matter_only_where_there_are_slices() -> None:
    assert passport(SOURCE) == passport(TARGET)
    deep, flat = ({**hparams, "slices": 9} for hparams in (SOURCE, TARGET))
    assert passport(deep)["volumetric"] is True
    assert passport(flat)["volumetric"] is False
    assert passport({**TARGET, "subtract_mean": True}) != passport(SOURCE)  # a trunk sees another input then


def test_weights_without_a_trunk_are_refused(run: Path) -> None:
    torch.save({"network": {"fc.weight": torch.zeros(2)}}, run / "latest.pt")
    with pytest.raises(ValueError, match="siamese_1 has no weights named trunk"):
        load_trunk(grader(), TARGET, run)


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_trunk_stays_as_it_was_given(run: Path, freeze: bool) -> None:
    network = with_pretrained_trunk(grader(), TARGET, run, freeze)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    network.train()
    network(torch.rand(4, 1, 1, 24, 48)).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("branches.") for key in changed)
    assert any(key.startswith("trunk.") for key in changed) is not freeze


def test_nothing_is_loaded_where_nothing_is_named() -> None:
    network = with_pretrained_trunk(grader(), TARGET, None, freeze=True)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), grader().parameters(), strict=True))
    assert not any(p.requires_grad for p in network.trunk.parameters())


@pytest.mark.parametrize(("pretrained", "freeze"), [(True, False), (False, True)])
@pytest.mark.parametrize("point", ["none", "conv4"])
def test_a_trunk_that_is_not_whole_is_refused(run: Path, point: str, pretrained: bool, freeze: bool) -> None:
    network = grader(branch_point=point)
    with pytest.raises(ValueError, match="branch_point must be conv5, fc6 or fc7"):
        with_pretrained_trunk(network, TARGET, run if pretrained else None, freeze)


def test_a_source_for_a_fold_must_have_left_that_fold_out(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text('{"folds": [["a"], ["b"]]}', encoding="utf-8")
    record = {"status": "FINISHED", "data": {"split": {"sha256": sha256_of(split)}}, "config": {"fold": 1}}
    run = tmp_path / "run"
    write_json(run / "run.json", record)
    check_left_out(run, split, 1, "pretrained")
    with pytest.raises(
        ValueError, match="pretrained must have left out fold 0 of folds.json, .* fold 1 of the same"
    ):
        check_left_out(run, split, 0, "pretrained")
    split.write_text('{"folds": [["b"], ["a"]]}', encoding="utf-8")
    with pytest.raises(ValueError, match="left out fold 1 of another split"):
        check_left_out(run, split, 1, "pretrained")
    write_json(run / "run.json", {**record, "status": "FAILED"})
    with pytest.raises(ValueError, match="pretrained must be finished trainings"):
        check_left_out(run, split, 1, "pretrained")


def test_a_source_with_lists_of_its_own_must_not_have_trained_on_the_fold(tmp_path: Path) -> None:
    split = write_json(tmp_path / "folds.json", {"folds": [["a"], ["b"], ["c"]]})
    own = write_json(tmp_path / "own.json", {"training": ["c"], "validation": ["b"]})
    data = {"split": {"sha256": sha256_of(own)}}
    record = {"status": "FINISHED", "data": data, "config": {"split": str(own), "fold": None}}
    run = tmp_path / "run"
    write_json(run / "run.json", record)
    check_left_out(run, split, 0, "pretrained")
    check_left_out(run, split, 1, "pretrained")
    with pytest.raises(ValueError, match=r"left out fold 2 of folds.json, .* trained on its subject c"):
        check_left_out(run, split, 2, "pretrained")
    write_json(own, {"training": ["a"], "validation": ["b"]})  # no longer what the run was trained by
    with pytest.raises(ValueError, match="left out fold None of another split"):
        check_left_out(run, split, 1, "pretrained")


DENSE = {"width": 4, "growth": 4, "layers": [1, 1], "group_size": 4}
SEEN = {"spacing_mm": [7.7, 3.0, 3.0], "surroundings_mm": 25.0, "window_top": 3.0}


def test_a_dense_encoder_goes_from_the_side_proxy_to_the_segmentation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = SiameseDense(**DENSE, embedding=3, normalize=True)
    torch.save({"network": source.state_dict()}, tmp_path / "latest.pt")
    hparams = {**DENSE, **SEEN, "embedding": 3, "region": [16, 16, 16]}
    (tmp_path / "run.json").write_text(json.dumps({"name": "sides_1", "hparams": hparams}), encoding="utf-8")
    target = DenseUNet(**DENSE, decoder_width=4)
    report = load_trunk(target, {**DENSE, **SEEN, "decoder_width": 4}, tmp_path)
    assert all(torch.equal(target.state_dict()[key], source.state_dict()[key]) for key in report.loaded)
    assert {key.split(".")[0] for key in report.own} == {"decoder", "reconstruction"}
    assert {key.split(".")[0] for key in report.left} == {"head"}
    frozen = with_pretrained_trunk(target, {**DENSE, **SEEN}, None, True)
    assert {name.split(".")[0] for name, p in frozen.named_parameters() if p.requires_grad} == {
        "decoder",
        "reconstruction",
    }
    with pytest.raises(ValueError, match=r"spacing_mm: \[7.7, 3.0, 3.0\] there, \[3.22, 1.62, 1.62\] here"):
        load_trunk(target, {**DENSE, **SEEN, "spacing_mm": [3.22, 1.62, 1.62]}, tmp_path)
    with pytest.raises(ValueError, match="surroundings_mm: .* there, None here"):
        load_trunk(target, {**DENSE, **SEEN, "surroundings_mm": None}, tmp_path)


def test_another_kind_of_trunk_is_refused(run: Path) -> None:
    target = DenseUNet(**DENSE, decoder_width=4)
    with pytest.raises(ValueError, match="trunk: VGG-M there, dense encoder here"):
        load_trunk(target, {**DENSE, **SEEN}, run)


UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "features": [8, 16, 24],
    "group_size": 8,
    "spacing_mm": [4, 2, 2],
}


@pytest.fixture
def masked_run(tmp_path: Path) -> Path:
    """A finished pretraining that fills pixels in: trunk, decoder and head."""
    torch.manual_seed(0)
    parts = UNetEncoder(2, 1, UNET["features"], 8), PixelHead(2, 8, 1), UNetDecoder(2, UNET["features"], 8)
    torch.save({"network": PretextNet(*parts).state_dict()}, tmp_path / "latest.pt")
    write_json(tmp_path / "run.json", {"name": "masked_1", "hparams": UNET})
    return tmp_path


@pytest.mark.parametrize("decoder", [True, False])
def test_a_decoder_is_taken_where_it_is_asked_for(masked_run: Path, decoder: bool) -> None:
    network = UNet(2, 1, 3, UNET["features"], 8)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = load_trunk(network, UNET, masked_run, decoder)
    given = torch.load(masked_run / "latest.pt", weights_only=True)["network"]
    parts = ("trunk.", "decoder.") if decoder else ("trunk.",)
    assert set(report.loaded) == {key for key in before if key.startswith(parts)}
    assert set(report.own) == set(before) - set(report.loaded)
    assert set(report.left) == set(given) - set(report.loaded)
    for key, value in network.state_dict().items():
        assert torch.equal(value, given[key] if key in report.loaded else before[key])


def test_a_unet_of_another_shape_spacing_or_decoder_is_refused(masked_run: Path) -> None:
    network = UNet(2, 1, 3, UNET["features"], 8)
    with pytest.raises(
        ValueError, match=r"masked_1 differs in spacing_mm: \[4, 2, 2\] there, \[4, 1, 1\] here"
    ):
        load_trunk(network, {**UNET, "spacing_mm": [4, 1, 1]}, masked_run)
    other = UNet(2, 1, 3, UNET["features"], 8, skips=False)
    with pytest.raises(ValueError, match="pretrained must have the network's own decoder, masked_1 differs"):
        load_trunk(other, UNET, masked_run, decoder=True)
    torch.save(
        {"network": UNetEncoder(2, 1, UNET["features"], 8).state_dict(prefix="trunk.")},
        masked_run / "latest.pt",
    )
    with pytest.raises(
        ValueError, match=r"pretrained must hold a decoder, masked_1 has no weights named decoder"
    ):
        load_trunk(network, UNET, masked_run, decoder=True)


def test_a_frozen_unet_encoder_leaves_the_decoder_to_learn(masked_run: Path) -> None:
    network = with_pretrained_trunk(UNet(2, 1, 1, UNET["features"], 8), UNET, masked_run, True, decoder=True)
    assert not any(p.requires_grad for p in network.get_submodule("trunk").parameters())
    assert all(p.requires_grad for p in network.get_submodule("decoder").parameters())

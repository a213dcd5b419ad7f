"""``siamed pretrain``: from a folder of scans without labels to a picture, and to a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from toy.cli import names, run

from siamed.pipeline.bundles import bundle_parser, load_network
from siamed.pipeline.experiments.transfer import with_pretrained_trunk
from siamed.pipeline.pretexts.scans import scans_folder
from siamed.pipeline.scans.write_dicom import write_series

SMALL = [
    "hparams#features=[8, 16]",
    "hparams#divisor=[1, 2, 2]",
    "hparams#crop=[3, 32, 32]",
    "hparams#max_epochs=1",
    "hparams#items_per_epoch=4",
    "hparams#batch_size=2",
    "hparams#watched_items=2",
    "val_interval=1",
]


def body(seed: int) -> np.ndarray:
    """A bright block in a gray body, 33 x 34 x 12 voxels."""
    image = np.random.default_rng(seed).normal(100, 5, (33, 34, 12)).astype(np.float32)
    image[6:14, 10:20, 3:9] += 80
    return image


AFFINE = np.diag([6.0, 6.0, 7.7, 1.0])


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(3):
        nibabel.save(nibabel.Nifti1Image(body(seed), AFFINE), folder / f"{seed}.nii.gz")
    return folder


def test_a_look_comes_before_any_training(scans: Path, tmp_path: Path) -> None:
    ran = run(
        "pretrain", "--images", scans, "--pretext", "rotation", "--look", "-o", tmp_path / "out", *SMALL
    )
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path / "out") == {"items.png"}
    assert (tmp_path / "out" / "items.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_learned_is_a_bundle_with_the_task_in_it_and_starts_a_segmentation(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("pretrain", "--images", scans, "--pretext", "rotation", "-o", tmp_path / "out", *SMALL)
    assert ran.exit_code == 0, ran.output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["status"], record["config"]["pretext"]["name"]) == ("FINISHED", "rotation")
    (row,) = json.loads((tmp_path / "out" / "history.json").read_text())
    assert row["val_chance"] == 0.25
    assert {"val_score", "val_effective_rank", "train_gradient_norm"} <= set(row)
    bundle = tmp_path / "out" / "bundle" / "abdomen_mr_ssl_pretraining"
    assert str(bundle) in ran.output.replace("\n", "")
    # The bundle's own configuration makes the network of the task, though that was an overlay here.
    monkeypatch.setenv("SIAMED_TRUST", "1")
    pretrained = load_network(bundle)
    downstream = bundle_parser("abdomen_mr_liver_segmentation", "train")
    for name in ("features", "divisor"):
        downstream[f"hparams#{name}"] = record["hparams"][name]
    network = downstream.get_parsed_content("network_def")
    hparams = downstream.get_parsed_content("hparams")
    with_pretrained_trunk(network, hparams, bundle, freeze=False)
    for name, value in pretrained.trunk.state_dict().items():
        assert value.equal(network.trunk.state_dict()[name])


def test_dicom_is_brought_into_form_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMED_ID_KEY", "0123456789abcdef0123456789abcdef")
    for number in range(2):
        given = {"patient_id": f"P-{number}", "patient_name": "Doe^Jane", "modality": "MR"}
        write_series(body(number), AFFINE, tmp_path / "dicom" / str(number), **given)
    out = tmp_path / "out"
    ran = run("pretrain", "--images", tmp_path / "dicom", "--look", "-o", out, *SMALL)
    assert ran.exit_code == 0, ran.output
    written = [name for name in names(out) if name.endswith("_image.nii.gz")]
    assert len(written) == 2
    assert not any("Doe" in name or "P-" in name for name in written)
    assert (out / "items.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pretext", "guess"], "pretext must be one of ['global_contrastive'"),
        (["hparams#crop"], "must be KEY=VALUE, got 'hparams#crop'"),
        (["hparams#epochs=3"], "KEY=VALUE must name entries of the train configuration of"),
        (["--images", "nowhere"], "images must be a folder that exists, got 'nowhere'"),
    ],
)
def test_wrong_use_is_said(scans: Path, tmp_path: Path, words: list[str], said: str) -> None:
    ran = run("pretrain", "--images", scans, "-o", tmp_path / "out", *words)
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.replace("│", " ").split())


def test_a_training_that_fails_says_why_without_the_way_there(scans: Path, tmp_path: Path) -> None:
    words = ["--images", scans, "-o", tmp_path / "out", *SMALL, "hparams#in_channels=2"]
    ran = run("pretrain", *words)
    assert ran.exit_code == 1
    assert "Traceback" not in ran.output
    assert "Failed to" not in ran.output
    assert "expected input" in ran.output.replace("\n", " ")


def test_scans_of_several_forms_are_all_brought_into_one(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMED_ID_KEY", "0123456789abcdef0123456789abcdef")
    write_series(body(7), AFFINE, scans / "dicom", patient_id="P-7", modality="MR")
    found = scans_folder(scans, tmp_path / "out")
    assert found == tmp_path / "out" / "scans"
    assert sum(name.endswith("_image.nii.gz") for name in names(found)) == 4


def test_a_folder_of_nothing_but_nifti_is_read_where_it_lies(scans: Path, tmp_path: Path) -> None:
    (scans / "notes.txt").write_text("of the scanner")
    assert scans_folder(scans, tmp_path / "out") == scans


def test_a_folder_without_a_scan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIAMED_ID_KEY", "0123456789abcdef0123456789abcdef")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="images must hold scans to learn from, of 1 found none is one"):
        scans_folder(tmp_path / "empty", tmp_path / "out")

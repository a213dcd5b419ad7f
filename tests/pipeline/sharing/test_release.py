"""The zip of a bundle: the same bytes, whole, and only of what agrees with itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from siamed.pipeline.sharing.card import figure_rows, missing_figures, model_card, without_card
from siamed.pipeline.sharing.release import BILL, build_release
from siamed.pipeline.sharing.verify import Unsound, verify_bundle


def edit_metadata(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    change(metadata)
    file.write_text(json.dumps(metadata))


def copy_of(bundle: Path, folder: Path) -> Path:
    return Path(shutil.copytree(bundle, folder / bundle.name))


def test_two_builds_in_two_folders_have_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    elsewhere = copy_of(trained, tmp_path / "a" / "longer" / "way")
    for file in elsewhere.rglob("*"):
        file.touch()
    first, _ = build_release(trained, tmp_path / "first")
    second, _ = build_release(elsewhere, tmp_path / "second")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name]


def test_the_zip_holds_twins_hashes_bill_and_card(released: Path) -> None:
    metadata = json.loads((released / "configs" / "metadata.json").read_text())
    assert (released / "configs" / "train.json").is_file()
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=released, capture_output=True)
    assert checked.returncode == 0
    bill = json.loads((released / BILL).read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "toy_bundle")
    purls = [component["purl"] for component in bill["components"]]
    assert f"pkg:pypi/monai@{metadata['monai_version']}" in purls
    card = (released / "docs" / "README.md").read_text()
    assert f"| not for | {metadata['not_for']} |" in card
    assert metadata["weights_sha256"] in card
    assert card.index("## Model card") < card.index("## Data")
    assert (
        hashlib.sha256((released / "models" / "model.pt").read_bytes()).hexdigest()
        == metadata["weights_sha256"]
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.update(version="0.9.0"), "version 0.9.0 is not in the changelog"),
        (lambda m: m["changelog"].update({"9.0.0": "next"}), "the changelog has version 9.0.0"),
        (lambda m: m.update(weights_sha256="0" * 64), "weights_sha256 is not the hash of models/model.pt"),
        (lambda m: m.pop("not_for"), "'not_for' is a required property"),
        (lambda m: m.update(version="first"), "'first' does not match"),
        (
            lambda m: m.update(figures={"protocol": "p", "command": "c", "auc": 0.987}),
            "auc is 0.987 in the metadata and not in docs/README.md",
        ),
        (lambda m: m["required_packages_version"].update(siamed="99.0.0"), "upgrade siamed"),
        (lambda m: m["network_data_format"]["outputs"]["pred"].update(num_channels=7), "the metadata says 7"),
        (lambda m: m.update(exports={"onnx": {"file": "model.onnx", "sha256": "0" * 64, "max_abs_difference":
        0}}),
         "models/model.onnx of exports is missing"),
    ],
)  # fmt: skip
def test_metadata_that_do_not_agree_are_refused_and_an_earlier_zip_stays(
    trained: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    bundle = copy_of(trained, tmp_path)
    earlier, _ = build_release(bundle, tmp_path / "dist")
    before = earlier.read_bytes()
    edit_metadata(bundle, change)
    with pytest.raises(Unsound, match="toy_bundle is refused: ") as raised:
        build_release(bundle, tmp_path / "dist")
    assert why in str(raised.value)
    assert [(path.name, path.read_bytes()) for path in earlier.parent.iterdir()] == [(earlier.name, before)]


def test_weights_of_another_network_are_refused(trained: Path, tmp_path: Path) -> None:
    bundle = copy_of(trained, tmp_path)
    torch.save({"other": torch.zeros(3)}, bundle / "models" / "model.pt")
    digest = hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()
    edit_metadata(bundle, lambda m: m.update(weights_sha256=digest))
    with pytest.raises(Unsound, match="weights and network do not fit each other"):
        build_release(bundle, tmp_path / "dist")


def test_weights_that_are_not_finite_are_refused(trained: Path, tmp_path: Path) -> None:
    bundle = copy_of(trained, tmp_path)
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    torch.save(weights, bundle / "models" / "model.pt")
    digest = hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()
    edit_metadata(bundle, lambda m: m.update(weights_sha256=digest))
    with pytest.raises(Unsound, match=f"must hold finite weights, {name}"):
        build_release(bundle, tmp_path / "dist")


def test_a_readme_without_limits_is_refused(trained: Path, tmp_path: Path) -> None:
    bundle = copy_of(trained, tmp_path)
    readme = bundle / "docs" / "README.md"
    readme.write_text(readme.read_text().replace("## Limits", "## Praise"))
    with pytest.raises(Unsound, match="no section 'Limits'"):
        build_release(bundle, tmp_path / "dist")


def test_a_twin_that_says_something_else_is_found(released: Path) -> None:
    (released / "configs" / "train.json").write_text("{}")
    faults = verify_bundle(released).faults
    assert "configurations: train.json says something else than train.yaml" in faults
    assert "hashes: configs/train.json is not the file that SHA256SUMS names" in faults


def test_a_changed_a_missing_and_an_added_file_are_told_apart(released: Path) -> None:
    (released / "LICENSE").write_text("free for all")
    (released / "configs" / "evaluate.yaml").unlink()
    (released / "docs" / "notes.md").write_text("new")
    faults = verify_bundle(released).faults
    assert "hashes: LICENSE is not the file that SHA256SUMS names" in faults
    assert "hashes: configs/evaluate.yaml is in SHA256SUMS and not in the bundle" in faults
    assert "hashes: docs/notes.md is not in SHA256SUMS" in faults


def test_a_source_folder_needs_no_hashes_and_a_zip_does(
    trained: Path, zip_file: Path, tmp_path: Path
) -> None:
    assert verify_bundle(trained).is_sound
    assert verify_bundle(zip_file).is_sound
    bare = tmp_path / "bare.zip"
    with zipfile.ZipFile(zip_file) as whole, zipfile.ZipFile(bare, "w") as archive:
        for entry in whole.infolist():
            if not entry.filename.endswith("SHA256SUMS"):
                archive.writestr(entry, whole.read(entry))
    assert "hashes: SHA256SUMS is missing" in verify_bundle(bare).faults


def test_a_path_that_is_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path must be a bundle's folder or zip"):
        verify_bundle(tmp_path / "nothing")


def test_figures_are_told_with_their_intervals() -> None:
    figures = {
        "protocol": "p",
        "auc": 0.979,
        "auc_interval": [0.97, 0.986],
        "kappa": {"a": 0.8, "b": 0.5},
        "kappa_interval": {"a": [0.7, 0.9]},
    }
    assert list(figure_rows(figures)) == [
        ("auc", "0.979 (0.97 to 0.986)"),
        ("kappa: a", "0.8 (0.7 to 0.9)"),
        ("kappa: b", "0.5"),
    ]
    assert missing_figures(figures, "AUC 97.9 % (97.0 to 98.6), kappa 0.80 (0.70 to 0.90) and 50.0 %") == []
    assert missing_figures({"auc": 0.979}, "AUC 0.978") == [
        "auc is 0.979 in the metadata and not in docs/README.md"
    ]


def test_a_card_is_put_in_once(released: Path) -> None:
    text = (released / "docs" / "README.md").read_text()
    metadata = json.loads((released / "configs" / "metadata.json").read_text())
    assert model_card("toy_bundle", metadata, text) == text


def test_links_out_of_the_bundle_become_text(trained: Path) -> None:
    metadata = json.loads((trained / "configs" / "metadata.json").read_text())
    links = "[more](../../../docs/more.md), [sibling](../../b/docs/README.md), [own](../LICENSE), [web](https://example.org/../../x)"
    text = model_card("toy_bundle", metadata, f"# A\n\n{links}\n\n## Data\n")
    assert "more, sibling, [own](../LICENSE), [web](https://example.org/../../x)" in text
    assert "Model card" not in without_card(text)

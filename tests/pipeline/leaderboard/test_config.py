"""What experiment follows from a leaderboard's configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.label_efficiency.config import Experiment, read_experiment
from siamed.pipeline.label_efficiency.plan import cells, pretraining_subjects
from siamed.pipeline.leaderboard.config import read_leaderboard

LIVER, TASKS = "abdomen_mr_liver_segmentation", "abdomen_mr_ssl_pretraining"
DRAWS = [
    {"training": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f"]},
    {"training": ["d", "e", "f"], "validation": ["c"], "test": ["a", "b"]},
]


class Hits:
    """A scorer that nothing is asked of here."""

    measure = "hits"


def read(folder: Path, overrides: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    (folder / "draws.json").write_text(json.dumps({"draws": DRAWS}), encoding="utf-8")
    content = {
        "name": "trial",
        "bundle": LIVER,
        "pretraining": TASKS,
        "split": "draws.json",
        "budgets": [1, 2],
        "scans": "scans",
        "options": {"dataset_dir": "@scans"},
        "pretraining_options": {"dataset_dir": "@scans", "hparams": {"max_epochs": 2}},
        "scorer": {"_target_": f"{__name__}.Hits"},
    } | changes
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_leaderboard(path, overrides)


def test_every_task_is_a_source_and_an_arm_beside_scratch(tmp_path: Path) -> None:
    experiment = read(tmp_path, {"scans": "mine"})
    tasks = {p.stem for p in (bundle_path(TASKS) / "configs").glob("*.yaml") if "\npretext:" in p.read_text()}
    tasks = tasks - {"train"} | {"masked_pixels"}
    assert len(tasks) >= 9
    assert set(experiment.sources) == tasks
    assert list(experiment.arms) == ["scratch", *sorted(tasks)]
    assert experiment.reference == "scratch"
    assert experiment.arms["scratch"].source is None
    assert {arm.source for arm in experiment.arms.values()} == {None, *tasks}
    assert experiment.sources["rotation"].overlays == ("rotation",)
    assert experiment.sources["masked_pixels"].overlays == ()
    assert experiment.sources["rotation"].options == {"dataset_dir": "mine", "hparams#max_epochs": 2}
    assert experiment.options == {"dataset_dir": "mine"}
    assert experiment.folds == (0, 1)
    assert experiment.split == tmp_path / "draws.json"  # it lies beside the configuration


def test_a_decoder_is_handed_on_where_the_downstream_network_has_the_same(tmp_path: Path) -> None:
    arms = read(tmp_path).arms
    handed = {name for name, arm in arms.items() if arm.options.get("pretrained_decoder")}
    # The autoencoder's has no skips; the others without are answered from the bottom of the encoder.
    assert handed == {"masked_pixels", "in_painting", "in_painting_adversary", "local_contrastive"}
    assert arms["reconstruction"].options == arms["rotation"].options == {"pretrained_decoder": False}
    assert arms["scratch"].options == {}


def test_the_pretrainings_of_an_earlier_leaderboard_are_taken(tmp_path: Path) -> None:
    experiment = read(tmp_path, {"pretexts": ["local_contrastive"], "pretrained_in": "runs/liver"})
    assert list(experiment.sources) == ["global_contrastive", "local_contrastive"]
    local = experiment.sources["local_contrastive"]
    assert (local.run, local.after) == (
        "runs/liver/sources/local_contrastive/fold_{fold}",
        "global_contrastive",
    )
    assert local.bundle is None
    assert experiment.arms["local_contrastive"].options == {"pretrained_decoder": True}
    with pytest.raises(ValueError, match="pretrained_in must come without a pretraining_split"):
        read(tmp_path, {"pretrained_in": "runs/liver", "pretraining_split": "draws.json"})


def test_a_task_after_another_starts_from_its_frozen_encoder(tmp_path: Path) -> None:
    experiment = read(tmp_path, {"pretexts": ["local_contrastive", "rotation"]})
    assert list(experiment.sources) == ["global_contrastive", "local_contrastive", "rotation"]
    assert list(experiment.arms) == ["scratch", "local_contrastive", "rotation"]
    local = experiment.sources["local_contrastive"]
    assert (local.after, local.options["freeze"]) == ("global_contrastive", True)
    assert "freeze" not in experiment.sources["global_contrastive"].options
    assert "freeze" not in experiment.sources["rotation"].options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pretexts": ["rotations"]},
            r"pretexts must be some of \['global_.*'rotation'\], .* got \['rotations'\]",
        ),
        ({"pretexts": ["rotation", "rotation"]}, "pretexts must be .* each once"),
        ({"pretexts": []}, "pretexts must be some of"),
        ({"pretraining": LIVER}, f"pretraining must be a bundle with tasks, {LIVER} has no configuration"),
        ({"pretraining": "no_such"}, "bundle must be a folder"),
        (
            {"options": {"hparams": {"epochs": 1}}},
            f"options must name .* {LIVER}, it has no 'hparams#epochs'",
        ),
        (
            {"pretraining_options": {"nothing": 1}},
            f"pretraining_options must .* {TASKS}, it has no 'nothing'",
        ),
        (
            {"options": {"hparams": {"spacing_mm": [5, 2, 2]}}, "pretexts": ["rotation"]},
            rf"pretexts must have the trunk of {LIVER}, rotation of {TASKS} differs in spacing_mm: "
            r"\[7.7, 4.0, 4.0\] there, \[5, 2, 2\] here",
        ),
        (
            {"options": {"hparams": {"features": [15]}}},
            f"options must make a network of {LIVER}: features must hold the channels",
        ),
        ({"split": "no_such.json"}, "no_such.json"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        read(tmp_path, **changes)


def test_a_task_after_one_that_there_is_not_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_path(TASKS), tmp_path / TASKS)
    (copy / "configs" / "global_contrastive.yaml").unlink()
    with pytest.raises(ValueError, match=f"pretext#after must name a task of {TASKS}, got 'global_con"):
        read(tmp_path, pretraining=str(copy), pretexts=["local_contrastive"])


def test_pretrainings_may_have_more_subjects_than_those_with_labels(tmp_path: Path) -> None:
    more = [{**draw, "training": [*draw["training"], "x", "y"]} for draw in DRAWS]
    (tmp_path / "more.json").write_text(json.dumps({"draws": more}), encoding="utf-8")
    experiment = read(tmp_path, pretraining_split="more.json", pretexts=["rotation"])
    assert experiment.sources["rotation"].split == tmp_path / "more.json"
    assert pretraining_subjects(experiment, 0) == ["a", "b", "c", "x", "y"]
    assert pretraining_subjects(read(tmp_path, pretexts=["rotation"]), 0) == ["a", "b", "c"]
    (tmp_path / "more.json").write_text(json.dumps({"draws": more[:1]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"#split must have the folds \[0, 1\], more.json has 1"):
        read(tmp_path, pretraining_split="more.json", pretexts=["rotation"])


def test_the_shipped_ones_can_be_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = bundle_path(LIVER) / "configs"
    board = read_leaderboard(folder / "leaderboard.yaml", {"dataset_dir": "mine", "pretexts": ["rotation"]})
    assert len(cells(board)) == 2 * 2 * 3 * 3
    assert board.split == folder / "draws.json"
    assert board.options["hparams#max_epochs"] == 4
    assert board.sources["rotation"].options["dataset_dir"] == "mine"
    paper = read_experiment(folder / "label_efficiency.yaml", {"dataset_dir": "mine"})
    assert paper.options["hparams#max_epochs"] == 16
    assert list(paper.arms) == [
        "scratch",
        "masked_pixels",
        "in_painting",
        "global_contrastive",
        "global_local",
    ]
    assert [cell.subjects for cell in cells(paper) if (cell.arm, cell.fold) == ("scratch", 0)] == [
        1,
        2,
        4,
        8,
    ]
    assert paper.sources["global_local"].after == "global_contrastive"
    assert {s.options["hparams#features"][0] for s in paper.sources.values()} == {8}
    for name in ("leaderboard", "label_efficiency"):
        twin = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert twin == yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))

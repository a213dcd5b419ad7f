"""The configuration of an experiment, and the trainings that follow from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from siamed.networks.vgg_m import BRANCH_POINTS
from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.experiments.train_bundle import check_entries
from siamed.pipeline.label_efficiency.config import Budget, Experiment, read_experiment
from siamed.pipeline.label_efficiency.experiment import _warn_of_seen
from siamed.pipeline.label_efficiency.plan import (
    cells,
    nested_subjects,
    pretraining_subjects,
    write_split,
)
from siamed.pipeline.tasks import SPIDER
from siamed.transforms.rand_ct_appearance import INGREDIENTS

FOLDS = [[f"s{i}" for i in range(start, start + 5)] for start in (0, 5, 10)]


class Hits:
    """A scorer that nothing is asked of here."""

    measure = "hits"


def config(folder: Path, **changes: Any) -> Path:
    (folder / "folds.json").write_text(json.dumps({"folds": FOLDS}), encoding="utf-8")
    content: dict[str, Any] = {
        "name": "trial",
        "bundle": "spine_mr_disc_grading",
        "split": str(folder / "folds.json"),
        "seeds": [0, 1],
        "budgets": ["20%", 4, "100%"],
        "crops": "x.npz",
        "options": {"crops_file": "@crops", "hparams": {"max_epochs": 2}},
        "sources": {
            "same_person": {"bundle": "spine_mr_siamese_pretraining", "options": {"hparams": {"width": 0.1}}},
            "idle": {"run": "runs/{fold}"},
        },
        "arms": {"scratch": {}, "frozen": {"source": "same_person", "options": {"freeze": True}}},
        "reference": "scratch",
        "scorer": {"_target_": f"{__name__}.Hits"},
    } | changes
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
    return path


def read(folder: Path, overrides: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    return read_experiment(config(folder, **changes), overrides)


def test_entries_refer_to_each_other_and_can_be_replaced(tmp_path: Path) -> None:
    experiment = read(tmp_path, {"crops": "y.npz", "options#hparams#max_epochs": 3})
    assert experiment.options == {"crops_file": "y.npz", "hparams#max_epochs": 3}
    assert experiment.sources["same_person"].options == {"hparams#width": 0.1}
    assert list(experiment.sources) == ["same_person"]  # no arm asks for the other
    assert experiment.arms["frozen"].options == {"freeze": True}
    assert experiment.folds == (0, 1, 2)
    assert experiment.scorer.measure == "hits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": ["0%"]}, "budgets must be percentages .* got '0%'"),
        ({"budgets": [0.5]}, "budgets must be percentages .* got 0.5"),
        ({"budgets": ["50%", "50%"]}, "budgets must hold each value once"),
        ({"reference": "nobody"}, r"reference must be one of the arms \['frozen', 'scratch'\], got 'nobody'"),
        ({"arms": {"scratch": {"source": "x"}}}, r"arms#scratch#source must be one of .* got 'x'"),
        ({"arms": {"scratch": {"freeze": True}}}, r"arms#scratch must hold .* got \['freeze'\]"),
        ({"arms": {"From scratch": {}}, "reference": "From scratch"}, "arms must be of small letters"),
        ({"sources": {"same_person": {"run": "runs/x"}}}, r"must hold \{fold\}"),
        ({"sources": {"same_person": {}}}, "must have a bundle to train or a run"),
        (
            {"sources": {"same_person": {"bundle": "spine_mr_siamese_pretraining", "overlays": ["no_such"]}}},
            "no configs/no_such.yaml",
        ),
        (
            {"sources": {"same_person": {"bundle": "abdomen_mr_ssl_pretraining", "after": "nobody"}}},
            r"sources#same_person#after must be one of \['same_person'\], got 'nobody'",
        ),
        (
            {"sources": {"same_person": {"bundle": "abdomen_mr_ssl_pretraining", "after": "same_person"}}},
            "sources#same_person#after must not lead back to itself",
        ),
        (
            {"sources": {"same_person": {"run": "runs/{fold}", "split": "x.json"}}},
            "sources#same_person must have no split: its runs have theirs, got 'x.json'",
        ),
        ({"folds": [3]}, r"folds must be some of 0 to 2, got \[3\]"),
        ({"scorer": None}, r"lacks \['scorer'\]"),
        ({"bundle": "no_such"}, "bundle must be a folder"),
        ({"options": {"hparams": {"width": 1, "epochs": 9}}}, "options must .* it has no 'hparams#epochs'"),
        ({"arms": {"scratch": {"options": {"frozen": 1}}}}, "arms#scratch must .* it has no 'frozen'"),
        (
            {"bundle": "spine_mr_siamese_pretraining", "options": {}},
            "arms#frozen must name entries of .*siamese_pretraining, it has no 'freeze'",
        ),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **changes)


def test_a_split_may_lie_beside_the_file_and_the_working_directory_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    path = config(beside, split="folds.json")
    assert read_experiment(path).split == beside / "folds.json"
    (here / "folds.json").write_text(json.dumps({"folds": FOLDS[:2]}), encoding="utf-8")
    assert read_experiment(path).split == here / "folds.json"
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        read_experiment(config(beside, split="nowhere.json"))


def test_a_source_may_be_trained_on_a_split_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = [[*members, f"more{place}"] for place, members in enumerate(FOLDS)]
    (tmp_path / "more.json").write_text(json.dumps({"folds": more}), encoding="utf-8")
    source = {"bundle": "spine_mr_siamese_pretraining", "split": "more.json"}
    experiment = read(tmp_path, sources={"same_person": source})
    assert pretraining_subjects(experiment, 0) == sorted(more[1] + more[2])
    _warn_of_seen(experiment)
    assert not caplog.messages
    (tmp_path / "more.json").write_text(json.dumps({"folds": FOLDS[::-1]}), encoding="utf-8")
    _warn_of_seen(experiment)
    assert caplog.messages == [f"fold {n}: 5 of its 5 scored subjects are pretrained on" for n in (0, 2)]


def test_an_override_must_reach_an_entry(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing#here must be an entry of experiment.yaml"):
        read(tmp_path, {"nothing#here": 1})


def test_a_budget_is_a_share_or_a_number() -> None:
    assert [Budget.parse(text).of(144) for text in ("10%", "100%", 8, "1%")] == [14, 144, 8, 1]
    assert Budget.parse("0.1%").of(144) == 1  # nobody can train on nothing
    with pytest.raises(ValueError, match="must not exceed the 5 training subjects, got 8"):
        Budget.parse(8).of(5)


def test_lists_are_nested_fixed_and_without_the_held_out(tmp_path: Path) -> None:
    experiment = read(tmp_path)
    for fold in experiment.folds:
        held_out = set(FOLDS[fold])
        for seed in experiment.seeds:
            parts: dict[int, list[str]] = {}
            for cell in cells(experiment):
                if (cell.fold, cell.seed, cell.arm) == (fold, seed, "scratch"):
                    file = write_split(experiment, cell, tmp_path / "out")
                    parts[cell.subjects] = fold_parts(file, None, "training")
                    assert set(fold_parts(file, None, "validation")) == held_out
            assert sorted(parts) == [2, 4, 10]
            assert set(parts[2]) < set(parts[4]) < set(parts[10])
            assert not set(parts[10]) & held_out
    orders = [nested_subjects(experiment, 0, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_every_arm_meets_every_budget_seed_and_fold_once_whole_seeds_first(tmp_path: Path) -> None:
    experiment = read(tmp_path)
    plan = cells(experiment)
    assert len(plan) == len(set(plan)) == len({cell.place for cell in plan}) == 2 * 3 * 3 * 2
    seeds = [cell.seed for cell in plan]
    assert seeds == sorted(seeds)
    assert len({cell.shared for cell in plan}) == len(plan) / 2  # arms share their lists


@pytest.mark.parametrize(
    ("budgets", "counts"), [(["100%", "20%"], "[10, 2]"), (["1%", 1], "[1, 1]"), ([4, "40%"], "[4, 4]")]
)
def test_budgets_that_do_not_rise_are_refused_before_anything_is_trained(
    tmp_path: Path, budgets: list[Any], counts: str
) -> None:
    with pytest.raises(ValueError, match=f"budgets must rise, .* are {re.escape(counts)} of the 10 training"):
        cells(read(tmp_path, budgets=budgets))


def test_another_experiments_lists_are_not_taken(tmp_path: Path) -> None:
    experiment = read(tmp_path)
    cell = cells(experiment)[0]
    path = write_split(experiment, cell, tmp_path / "out")
    assert write_split(experiment, cell, tmp_path / "out") == path
    content = json.loads(path.read_text(encoding="utf-8"))
    content["training"] = content["training"][::-1]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="out must hold this experiment's lists"):
        write_split(experiment, cell, tmp_path / "out")


def test_shipped_experiments_can_be_read(tmp_path: Path) -> None:
    from siamed.pipeline.bundles import bundle_path

    folder = bundle_path("spine_mr_disc_grading") / "configs"
    spider = read_experiment(folder / "label_efficiency.yaml", {"crops_file": "c.npz", "volumes": "v"})
    assert len(cells(spider)) == len(spider.arms) * 4 * 5 * 5
    assert spider.sources["same_person"].options["dataset_dir"] == "v"
    (tmp_path / "folds.json").write_text(json.dumps({"folds": FOLDS}), encoding="utf-8")
    branches = read_experiment(folder / "branch_points.yaml", {"crops_file": "c.npz"})
    assert list(branches.arms) == list(BRANCH_POINTS)
    assert branches.scorer.parts == tuple(task.name for task in SPIDER)
    ingredients = read_experiment(folder / "ingredients.yaml", {"crops_file": "c.npz", "volumes": "v"})
    assert len(ingredients.scorer.parts) == 2 * len(SPIDER)
    rendered = bundle_path("kidney_ct_segmentation")
    ingredients = read_experiment(rendered / "configs" / "ingredients.yaml", {"dataset_dir": "maps"})
    for arm in ingredients.arms.values():
        check_entries(arm.name, str(rendered), {**ingredients.options, **arm.options})
    assert ingredients.arms["means_alone"].options["hparams#without"] == list(INGREDIENTS)
    assert len(ingredients.scorer.parts) == 3
    phantom = read_experiment(folder / "label_efficiency_phantom.yaml", {"cohort": str(tmp_path)})
    assert phantom.split == tmp_path / "folds.json"
    assert phantom.options["hparams#slices"] == 9
    assert [budget.text for budget in phantom.budgets] == ["1", "2", "6", "100%"]


def test_a_source_is_trained_behind_the_one_it_starts_from(tmp_path: Path) -> None:
    ours = {"bundle": "abdomen_mr_ssl_pretraining"}
    experiment = read(
        tmp_path,
        sources={
            "local": {**ours, "overlays": ["local_contrastive"], "after": "global"},
            "global": {**ours, "overlays": ["global_contrastive"]},
        },
        arms={"scratch": {}, "both": {"source": "local"}},
    )
    assert list(experiment.sources) == ["global", "local"]
    assert experiment.sources["local"].overlays == ("local_contrastive",)


def test_a_draws_test_subjects_are_scored_and_not_watched(tmp_path: Path) -> None:
    draws = [
        {"training": FOLDS[a], "validation": FOLDS[b], "test": FOLDS[c]} for a, b, c in ((0, 1, 2), (1, 2, 0))
    ]
    (tmp_path / "draws.json").write_text(json.dumps({"draws": draws}), encoding="utf-8")
    experiment = read(tmp_path, split=str(tmp_path / "draws.json"), budgets=[2])
    first = cells(experiment)[0]
    written = json.loads(write_split(experiment, first, tmp_path).read_text())
    assert set(written["training"]) < set(FOLDS[0])
    assert (written["validation"], written["test"]) == (FOLDS[1], FOLDS[2])
    draws[1]["test"] = FOLDS[2]
    draws[1]["validation"] = FOLDS[0]
    (tmp_path / "draws.json").write_text(json.dumps({"draws": draws}), encoding="utf-8")
    with pytest.raises(ValueError, match="folds must score each subject once, 's10' is scored"):
        cells(experiment)

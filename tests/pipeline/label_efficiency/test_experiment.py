"""The whole experiment on a small phantom cohort: pretraining, cells, table, and going on after a stop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import read_json, sha256_of, write_json
from siamed.pipeline.label_efficiency.config import read_experiment
from siamed.pipeline.label_efficiency.experiment import _watched, run_experiment
from siamed.pipeline.phantoms.cohort import write_cohort

pytestmark = pytest.mark.slow

CONFIG = bundle_path("spine_mr_disc_grading") / "configs" / "label_efficiency_phantom.yaml"
TINY = {
    "seeds": [0],
    "budgets": ["50%", "100%"],
    "options#hparams#discs_per_epoch": 64,
    "options#hparams#max_epochs": 1,
    "options#hparams#views": [[1.0, 0, 0]],
    "sources#same_person#options#hparams#pairs_per_epoch": 64,
    "sources#same_person#options#hparams#max_epochs": 1,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), subjects=10, folds=2)


@pytest.fixture(scope="module")
def arms() -> dict[str, Any]:
    return {"scratch": {}, "frozen": {"source": "same_person", "options": {"freeze": True}}}


@pytest.fixture(scope="module")
def finished(cohort: Path, arms: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("experiment")
    outcome = run_experiment(
        read_experiment(CONFIG, {**TINY, "cohort": str(cohort), "arms": arms}), out, jobs=2
    )
    assert not outcome.failures
    return out


def test_every_cell_is_a_scored_training_on_its_list(finished: Path) -> None:
    scores = sorted(finished.glob("trainings/*/*/scores.json"))
    assert len(scores) == 4
    for file in scores:
        record, own = read_json(file.parent / "run.json"), read_json(file)
        assert own["run"] == record["name"]
        split = finished / "splits" / f"{file.parent.parent.name}.json"
        assert record["data"]["split"]["sha256"] == sha256_of(split)
        held_out = set(read_json(split)["validation"])
        assert set(own["subjects"]) <= held_out
        assert np.shape(next(iter(own["subjects"].values()))) == (1, 5, 5)
        assert not (file.parent / "latest.pt").exists()  # scored weights are not kept unless asked
        assert not (file.parent / "bundle").exists()
    frozen = [read_json(file.parent / "run.json") for file in scores if file.parent.name == "frozen"]
    source = read_json(finished / "sources" / "same_person" / "fold_0" / "run.json")
    assert {record["parent_run"] for record in frozen} == {source["mlflow_run_id"]}
    assert source["config"]["fold"] == 0


def test_the_table_is_what_the_scores_say(finished: Path) -> None:
    summary = read_json(finished / "label_efficiency.json")
    for place, subjects in enumerate(summary["subjects_labelled"]):
        file = (
            finished / "trainings" / f"seed_0_fold_0_subjects_{int(subjects):04d}" / "scratch" / "scores.json"
        )
        (counts,) = sum(np.array(matrices) for matrices in read_json(file)["subjects"].values())
        true = counts.sum(1)
        by_hand = np.mean([counts[g, g] / true[g] for g in range(5) if true[g]])
        assert summary["arms"]["scratch"]["budgets"][place]["mean"] == pytest.approx(by_hand)
    table = (finished / "table.md").read_text(encoding="utf-8")
    assert re.search(r"\| frozen \| 0\.\d{3}", table)
    assert (finished / "label_efficiency.png").stat().st_size > 10_000
    assert not (finished / "epochs.png").exists()  # of a single epoch there is nothing to draw


def test_trainings_that_watch_themselves_show_how_each_arm_learns(tmp_path: Path) -> None:
    runs = []
    for arm, start in (("scratch", 0.1), ("scratch", 0.3), ("sides", 0.5)):
        run = tmp_path / str(len(runs))
        write_json(run / "run.json", {"best_metric": {"name": "dice"}})
        rows = [{"epoch": e, "train_loss": 1.0, "val_dice": start + e / 10} for e in (1, 2)]
        write_json(run / "history.json", [*rows, {"epoch": 3, "train_loss": 0.5}])
        runs.append((arm, run))
    assert _watched(runs) == (
        "val_dice",
        {"scratch": {1: [0.2, 0.4], 2: pytest.approx([0.3, 0.5])}, "sides": {1: [0.6], 2: [0.7]}},
    )


def test_subjects_that_no_choice_may_go_by_can_be_left_uncounted(
    cohort: Path, arms: dict[str, Any], finished: Path
) -> None:
    experiment = read_experiment(CONFIG, {**TINY, "cohort": str(cohort), "arms": arms})
    scored = read_json(next(finished.glob("trainings/*/scratch/scores.json")))["subjects"]
    first, *others = sorted(scored)
    outcome = run_experiment(experiment, finished, leave_out=[first])
    assert outcome.summary is not None
    assert outcome.summary["subjects_scored"] == len(others)
    file = sorted(finished.glob("trainings/*/scratch/scores.json"))[-1]
    kept = read_json(file)["subjects"]
    counts = sum(np.array(kept[name][0]) for name in others)
    recalls = [counts[g, g] / counts[g].sum() for g in range(5) if counts[g].sum()]
    assert outcome.summary["arms"]["scratch"]["budgets"][-1]["mean"] == pytest.approx(np.mean(recalls))
    with pytest.raises(ValueError, match="leave_out must leave a scored subject"):
        run_experiment(experiment, finished, leave_out=sorted(scored))
    assert run_experiment(experiment, finished).summary["subjects_scored"] == len(scored)


def test_trainings_lie_below_the_experiment_in_mlflow(finished: Path) -> None:
    record = read_json(finished / "run.json")
    client = MlflowClient(record["tracking_uri"])
    parent = client.get_run(record["mlflow_run_id"])
    assert parent.info.status == record["status"] == "FINISHED"
    assert parent.data.metrics["scratch_100pct"] == pytest.approx(
        read_json(finished / "label_efficiency.json")["arms"]["scratch"]["budgets"][1]["mean"]
    )
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} >= {"label_efficiency.png", "table.md"}
    experiments = [e.experiment_id for e in client.search_experiments()]
    children = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(children) == 5
    tags = [(run.data.tags.get("arm"), run.data.tags.get("budget")) for run in children]
    assert sorted(t for t in tags if t[0]) == [
        (arm, budget) for arm in ("frozen", "scratch") for budget in ("100%", "50%")
    ]


def test_what_is_done_is_not_done_again_and_an_arm_can_be_added(
    finished: Path, cohort: Path, arms: dict[str, Any]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.glob("trainings/*/*/scores.json")}
    run_before = read_json(finished / "run.json")["mlflow_run_id"]
    more = {**arms, "fine_tuned": {"source": "same_person"}}
    outcome = run_experiment(
        read_experiment(CONFIG, {**TINY, "cohort": str(cohort), "arms": more}),
        finished,
        jobs=1,
        keep_weights=True,
    )
    assert list(outcome.summary["arms"]) == ["scratch", "frozen", "fine_tuned"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(list(finished.glob("trainings/*/fine_tuned/latest.pt"))) == 2
    assert len(list(finished.glob("trainings/*/fine_tuned/bundle/*/models/model.pt"))) == 2
    assert read_json(finished / "run.json")["mlflow_run_id"] == run_before


def test_another_experiment_in_the_same_folder_is_refused(
    finished: Path, cohort: Path, arms: dict[str, Any]
) -> None:
    other = {**TINY, "cohort": str(cohort), "arms": arms, "options#hparams#max_epochs": 2}
    with pytest.raises(
        ValueError, match="started with another hparams#max_epochs: 1, now 2; give another out"
    ):
        run_experiment(read_experiment(CONFIG, other), finished)


def test_a_source_that_saw_the_held_out_is_refused(finished: Path, cohort: Path, tmp_path: Path) -> None:
    arms = {"scratch": {}, "frozen": {"source": "same_person"}}
    run = {"same_person": {"run": str(finished / "sources" / "same_person" / "fold_{fold}")}}
    left_out = {**TINY, "cohort": str(cohort), "arms": arms, "sources": run}
    folder = finished / "sources" / "same_person"
    (folder / "fold_1").symlink_to(folder / "fold_0")
    with pytest.raises(
        ValueError, match="must have left out fold 1 of folds.json, .* left out fold 0 of the same"
    ):
        run_experiment(read_experiment(CONFIG, {**left_out, "folds": [1]}), tmp_path)


def test_a_failed_training_is_named_and_the_others_go_on(cohort: Path, tmp_path: Path) -> None:
    arms = {"scratch": {}, "wrong": {"options": {"hparams": {"batch_size": 4000}}}}
    outcome = run_experiment(
        read_experiment(CONFIG, {**TINY, "cohort": str(cohort), "arms": arms, "budgets": ["100%"]}), tmp_path
    )
    assert list(outcome.failures) == ["wrong, 100%, seed 0, fold 0"]
    assert outcome.summary is None  # no seed is whole
    assert len(list(tmp_path.glob("trainings/*/scratch/scores.json"))) == 1
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "FAILED"

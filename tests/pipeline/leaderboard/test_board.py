"""A leaderboard from its configuration to its files: what it says, what it cost, and going on later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from toy.abdomen import DRAW, write_leaderboard
from toy.cli import run

from siamed.pipeline.experiments.files import read_json, write_json
from siamed.pipeline.label_efficiency.config import Experiment
from siamed.pipeline.label_efficiency.experiment import Outcome
from siamed.pipeline.leaderboard.board import go_on_words, run_leaderboard
from siamed.pipeline.leaderboard.config import read_leaderboard
from siamed.pipeline.leaderboard.figures import draw_ranking
from siamed.pipeline.leaderboard.spent import Spent, spent_in, task_scores


def record(folder: Path, minutes: int, resumed: int | None = None) -> Path:
    times = {"started": "2026-01-01T10:00:00+00:00", "ended": f"2026-01-01T10:{minutes:02d}:00+00:00"}
    write_json(folder / "run.json", {**times, "resumed_after_epoch": resumed})
    return folder


def test_time_is_that_of_the_runs_that_ended(tmp_path: Path) -> None:
    runs = [record(tmp_path / "a", 4), record(tmp_path / "b", 8), tmp_path / "none"]
    write_json(tmp_path / "c" / "run.json", {"started": "2026-01-01T10:00:00+00:00", "ended": None})
    spent = spent_in([*runs, tmp_path / "c"])
    assert spent == Spent(12 * 60, 2, False)
    assert spent.minutes(2) == "6.0"
    assert (spent + spent_in([record(tmp_path / "d", 3, resumed=2)])).minutes(3) == "at least 5.0"
    assert Spent(1.0, 1).minutes(1) == "below 0.1"
    assert Spent().minutes(3) == "unknown"


def test_a_task_is_scored_by_the_last_validation_of_its_runs(tmp_path: Path) -> None:
    for name, last in (("a", 0.6), ("b", 0.8)):
        rows = [{"epoch": 1, "val_score": 0.1, "val_chance": 0.25}]
        rows += [{"epoch": 2, "val_score": last, "val_chance": 0.25}, {"epoch": 3, "train_loss": 1.0}]
        write_json(tmp_path / name / "history.json", rows)
    assert task_scores([tmp_path / "a", tmp_path / "b", tmp_path / "none"]) == {
        "score": pytest.approx(0.7),
        "chance": 0.25,
    }
    assert task_scores([tmp_path / "none"]) is None


def row(mean: float, gap: float, p: float) -> dict[str, Any]:
    return {
        "mean": mean,
        "interval_95": [mean - 0.1, mean + 0.1],
        "difference": gap,
        "difference_interval_95": [gap - 0.05, gap + 0.05],
        "p_adjusted": p,
    }


def arm(*rows: dict[str, Any], saved: float | None) -> dict[str, Any]:
    reached = {"target": 0.5, "saved": saved, "with_the_smallest_budget": True}
    return {"budgets": list(rows), "reaches_reference": {**reached, "saved_interval_95": [0.0, 0.5]}}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = write_leaderboard(tmp_path, budgets=[1, 2], pretexts=["local_contrastive", "rotation"])
    return read_leaderboard(path)


def test_the_files_say_what_was_found(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for number, name in enumerate(("global_contrastive", "local_contrastive", "rotation"), 1):
        source = record(out / "sources" / name / "fold_0", 10 * number)
        write_json(source / "history.json", [{"epoch": 1, "val_score": 0.9, "val_chance": 0.25}])
    for subjects in (1, 2):
        cell = out / "trainings" / f"seed_0_fold_0_subjects_{subjects:04d}"
        record(cell / "rotation", 3 * subjects)
    summary = {
        **{"name": "tiny", "measure": "Dice", "budgets": ["1", "2"], "whole_seeds": [0], "seeds": 1},
        **{"reference": "scratch", "subjects_scored": 2, "subjects_labelled": [1.0, 2.0]},
        "arms": {
            "scratch": arm(*[{"mean": 0.5, "interval_95": [0.4, 0.6]}] * 2, saved=0.5),
            "local_contrastive": arm(row(0.5, 0.0, 1.0), row(0.4, -0.1, 0.5), saved=None),
            "rotation": arm(row(0.6, 0.1, 0.01), row(0.5, 0.0, 1.0), saved=0.5),
        },
    }
    logged: list[Path] = []

    def done(*given: Any, report: Any, **named: Any) -> Outcome:
        logged.extend(report(summary))
        return Outcome(summary, "another table", {})

    monkeypatch.setattr("siamed.pipeline.leaderboard.board.run_experiment", done)
    outcome = run_leaderboard(experiment, out)
    assert [path.name for path in logged] == ["leaderboard.md", "leaderboard.json", "leaderboard.png"]
    assert outcome.table == (out / "leaderboard.md").read_text(encoding="utf-8")
    lines = outcome.table.splitlines()
    assert lines[0] == "# tiny: which self-supervised task saves labels?"
    assert [line for line in lines if line.startswith("|")] == [
        "| task | Dice, 1 labelled | Dice, 2 labelled | handed on | pretraining, minutes a fold | a "
        "training, minutes | the task itself (chance) | verdict | labels saved |",
        "|---|---|---|---|---|---|---|---|---|",
        "| rotation | 0.600 (0.500 to 0.700); +0.100, p 0.010 | 0.500 (0.400 to 0.600); +0.000, p 1.000 | "
        "encoder | 30.0 | 4.5 | 0.90 (0.25) | ahead at 1 | at least 50 % (0 to 50) |",
        "| local_contrastive (after global_contrastive) | 0.500 (0.400 to 0.600); +0.000, p 1.000 | 0.400 "
        "(0.300 to 0.500); -0.100, p 0.500 | encoder and decoder | 30.0 | unknown | 0.90 (0.25) | no "
        "difference beyond chance | does not reach 0.500 |",
        "| scratch | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) | nothing | none | unknown |  | "
        "reference | reference, itself there with 50 % fewer |",
    ]
    assert lines[-1] == (
        "- The unlabelled pool of each draw: its 3 training subjects; no scored subject was in it."
    )
    board = read_json(out / "leaderboard.json")
    assert list(board["tasks"]) == ["rotation", "local_contrastive"]
    assert board["tasks"]["local_contrastive"]["pretraining"] == {
        "seconds": 30 * 60.0,
        "runs": 2,
        "at_least": False,
    }
    (axes,) = draw_ranking(board).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rotation", "local_contrastive"]
    dots = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert [(float(dot.get_xdata()[0]), dot.get_markerfacecolor()) for dot in dots] == [
        (0.1, "C0"),  # beyond chance
        (0.0, "white"),
        (0.0, "white"),
        (-0.1, "white"),
    ]


def test_it_can_be_gone_on_with_without_what_failed(experiment: Experiment) -> None:
    assert go_on_words(experiment, ["global_contrastive, fold 0"]).endswith("with pretexts=[rotation]")
    assert go_on_words(experiment, ["rotation, 1, seed 0, fold 0"]).endswith("pretexts=[local_contrastive]")
    assert go_on_words(experiment, ["rotation, fold 0", "local_contrastive, fold 0"]) == ""
    assert go_on_words(experiment, ["scratch, 1, seed 0, fold 0"]) == ""
    assert go_on_words(experiment, []) == ""


def test_the_command_says_what_it_is_and_refuses_what_is_none(tmp_path: Path) -> None:
    ran = run("leaderboard", "--help")
    assert ran.exit_code == 0
    assert "self-supervised" in ran.output
    assert "--keep-weights" not in ran.output
    path = tmp_path / "x.yaml"
    path.write_text("name: x\n", encoding="utf-8")
    ran = run("leaderboard", path, "--out", tmp_path / "out")
    assert ran.exit_code == 2
    assert "lacks" in ran.output
    assert not (tmp_path / "out").exists()


def test_the_command_gives_the_table_and_names_what_failed(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "siamed.pipeline.leaderboard.board.run_leaderboard",
        lambda *given: Outcome(None, "| task |\n", {"rotation, fold 0": "ValueError: no"}),
    )
    ran = run("leaderboard", tmp_path / "leaderboard.yaml", "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert ran.stdout == "| task |\n"
    assert "rotation, fold 0 failed: ValueError: no" in ran.stderr
    assert "pretexts=[local_contrastive]" in ran.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    outcome = run_leaderboard(read_leaderboard(write_leaderboard(folder)), folder / "out")
    assert not outcome.failures
    return folder


@pytest.mark.slow
def test_a_whole_board_is_run_and_another_task_can_join(folder: Path) -> None:
    out = folder / "out"
    assert sorted(run.name for run in out.glob("sources/*")) == ["global_contrastive", "local_contrastive"]
    earlier, later = (
        read_json(out / "sources" / name / "fold_0" / "run.json")
        for name in ("global_contrastive", "local_contrastive")
    )
    assert later["parent_run"] == earlier["mlflow_run_id"]
    assert (later["config"]["freeze"], earlier["config"]["freeze"]) == (True, False)
    runs = [*out.glob("sources/*/*/run.json"), *out.glob("trainings/*/*/run.json")]
    before = {file: file.stat().st_mtime_ns for file in runs}
    assert len(before) == 4
    ran = run(
        "leaderboard", folder / "leaderboard.yaml", "pretexts=[local_contrastive,rotation]", "--out", out
    )
    assert ran.exit_code == 0, ran.output
    assert {file: file.stat().st_mtime_ns for file in before} == before
    board = read_json(out / "leaderboard.json")
    assert ran.stdout == (out / "leaderboard.md").read_text(encoding="utf-8")
    assert sorted(board["tasks"]) == ["local_contrastive", "rotation"]
    assert (out / "leaderboard.png").stat().st_size > 5000
    local = board["tasks"]["local_contrastive"]
    assert local["score"]["chance"] == pytest.approx(1 / 36)  # a grid of 6 x 6 regions
    assert (local["pretraining"]["runs"], local["training"]["runs"]) == (2, 1)
    assert local["hands_on"] == ["encoder", "decoder"]
    assert board["tasks"]["rotation"]["score"]["chance"] == 0.25
    assert "no difference, however large" in board["verdict"][1]  # of two subjects
    trained = read_json(out / "trainings" / "seed_0_fold_0_subjects_0002" / "local_contrastive" / "run.json")
    assert trained["config"]["pretrained_decoder"] is True
    own = read_json(out / "run.json")
    client = MlflowClient(own["tracking_uri"])
    assert {f.path for f in client.list_artifacts(own["mlflow_run_id"])} >= {
        "leaderboard.md",
        "leaderboard.png",
    }
    experiments = [e.experiment_id for e in client.search_experiments()]
    below = f"tags.`mlflow.parentRunId` = '{own['mlflow_run_id']}'"
    assert len(client.search_runs(experiments, below)) == 6


@pytest.mark.slow
def test_pretrainings_of_an_earlier_board_serve_another(folder: Path, tmp_path: Path) -> None:
    given, out = ("pretexts=[local_contrastive]", f"pretrained_in={folder / 'out'}"), tmp_path / "out"
    ran = run("leaderboard", folder / "leaderboard.yaml", *given, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert not (out / "sources").exists()
    trained = read_json(out / "trainings" / "seed_0_fold_0_subjects_0002" / "local_contrastive" / "run.json")
    assert trained["config"]["pretrained"] == str(folder / "out" / "sources" / "local_contrastive" / "fold_0")
    other = tmp_path / "other.json"
    write_json(other, {"draws": [{**DRAW, "training": DRAW["test"], "test": DRAW["training"]}]})
    ran = run("leaderboard", folder / "leaderboard.yaml", *given, f"split={other}", "--out", tmp_path / "no")
    assert ran.exit_code == 2
    assert "trained on its subject" in ran.output

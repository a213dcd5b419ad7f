"""Bundles on other people's roads: a Hugging Face repository, MONAI's own download, the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy import cli
from toy.hub import hub
from toy.samples import SAMPLES
from toy.training import make_data, toy_workflow
from toy.web import Web

from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.sharing.archive import unpack
from siamed.pipeline.sharing.contents import sums_faults
from siamed.pipeline.sharing.foreign import TRUST

PUBLISH_AND_GET = """
import sys
from siamed.pipeline.sharing.install import get_bundle
from siamed.pipeline.sharing.publish import upload
from siamed.pipeline.sharing.sources import Source
print(upload(sys.argv[1], "lab/bundles"))
print(get_bundle("toy_bundle", Source(huggingface="lab/bundles"), sys.argv[2]).version)
"""


def run(*words: str, cwd: Path, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_a_folder_goes_to_a_hugging_face_repository_and_comes_back(site: Path, tmp_path: Path) -> None:
    with hub() as server:
        # In a process of its own: the library reads its address and its token when it is imported.
        variables = {
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": "hf_test",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
        }
        program = [sys.executable, "-c", PUBLISH_AND_GET, str(site), str(tmp_path / "b")]
        said = run(*program, cwd=tmp_path, **variables).stdout
        assert said.splitlines()[0].endswith("/lab/bundles/commit/0")
        assert sorted(name.split("/")[-1] for name in server.files) == sorted(p.name for p in site.iterdir())
        downloads = [row for row in server.asked if row[0] == "GET" and "/resolve/main/" in row[1]]
        assert len(downloads) == 2  # index and zip; before the first upload there is no index to read
        assert all(authorization == "Bearer hf_test" for _, _, authorization in downloads)
    assert sums_faults(tmp_path / "b" / "toy_bundle") == []


UPLOAD = "import sys; from siamed.pipeline.sharing.publish import upload; upload(sys.argv[1], 'lab/bundles')"


def test_what_others_published_in_a_repository_stays_in_its_index(site: Path, tmp_path: Path) -> None:
    others = [
        {"name": "others_bundle", "version": "1.0.0", "url": "o.zip", "sha256": "0" * 64, "size": 1},
        {"name": "toy_bundle", "version": "0.0.1", "url": "t.zip", "sha256": "1" * 64, "size": 1},
    ]
    with hub() as server:
        variables = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_test", "HF_HOME": str(tmp_path)}
        variables["HF_HUB_OFFLINE"] = "0"
        index = {"schema": "siamed/index/1", "bundles": others}
        server.files["lab/bundles/index.json"] = json.dumps(index).encode()
        run(sys.executable, "-c", UPLOAD, str(site), cwd=tmp_path, **variables)
        (own,) = json.loads((site / "index.json").read_text("utf-8"))["bundles"]
        assert json.loads(server.files["lab/bundles/index.json"])["bundles"] == [*others, own]

        changed = {**own, "sha256": "2" * 64}
        before = json.dumps({**index, "bundles": [changed]}).encode()
        server.files["lab/bundles/index.json"] = before
        said = run(sys.executable, "-c", UPLOAD, str(site), cwd=tmp_path, status=1, **variables)
        assert "was published with other bytes" in said.stderr
        assert server.files["lab/bundles/index.json"] == before

        before = json.dumps(index).encode()
        server.files, server.told = {"lab/bundles/index.json": before}, "1" * 40
        said = run(sys.executable, "-c", UPLOAD, str(site), cwd=tmp_path, status=1, **variables)
        assert "a commit has happened since" in said.stderr
        assert server.files == {"lab/bundles/index.json": before}


def test_monai_downloads_and_runs_it_without_our_help(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    (zip_file,) = folder.glob("*.zip")
    words = [
        "--name",
        "toy_bundle",
        "--url",
        f"{server.url}{zip_file.name}",
        "--bundle_dir",
        str(tmp_path / "b"),
    ]
    run(sys.executable, "-m", "monai.bundle", "download", *words, cwd=tmp_path)
    bundle = tmp_path / "b" / "toy_bundle"
    assert sums_faults(bundle) == []
    sample = SAMPLES["toy_bundle"](tmp_path / "data")
    given = [word for name, value in sample.inference.items() for word in (f"--{name}", str(value))]
    config = str(bundle / "configs" / "inference.json")
    words = ["run", "--config_file", config, *given, "--output_dir", str(tmp_path / "out")]
    run(sys.executable, "-m", "monai.bundle", *words, cwd=tmp_path)
    assert any(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())


def test_the_commands_publish_get_verify_and_tell(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = cli.run("bundle", "publish", tmp_path / "site", trained)
    (zip_file,) = (tmp_path / "site").glob("*.zip")
    assert published.stdout.strip().endswith(zip_file.name)
    monkeypatch.setenv("SIAMED_BUNDLE_INDEX", str(tmp_path / "site" / "index.json"))
    monkeypatch.setenv("SIAMED_BUNDLES", str(tmp_path / "b"))
    assert cli.run("bundle", "get", "toy_bundle").stdout.strip() == str(tmp_path / "b" / "toy_bundle")
    assert "is there already" in cli.run("bundle", "get", "toy_bundle").stderr
    assert "good" in cli.run("bundle", "verify", zip_file).stderr
    assert cli.run("bundle", "lineage", "toy_bundle").stdout.startswith("bundle toy_bundle@0.1.0+")


def test_the_commands_say_what_is_wrong_and_end_with_its_code(trained: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(trained, tmp_path / trained.name))
    (broken / "evil.py").write_text("")
    verified = cli.run("bundle", "verify", broken)
    assert (verified.exit_code, "FAULT  evil.py may not be in a bundle" in verified.stderr) == (1, True)
    built = cli.run("bundle", "build", broken, "--out", tmp_path / "dist")
    assert (built.exit_code, "files: evil.py may not be in a bundle" in built.stderr) == (1, True)
    for words, why in (
        (["get", "toy_bundle"], "a source must be given"),
        (["verify", "nothing"], "path must be a bundle"),
        (["build", trained, "--export", "onnx"], "must be given with --export"),
        (["register", tmp_path], "output_dir must"),
    ):
        said = cli.run("bundle", *words)
        assert said.exit_code == 2
        assert why in " ".join(said.stderr.split())


def test_exports_are_built_into_the_zip_with_what_they_differ_by(trained: Path, tmp_path: Path) -> None:
    sample = SAMPLES["toy_bundle"](tmp_path / "data")
    words = ["--export", "onnx", "--dataset-dir", sample.inference["dataset_dir"], "--out", tmp_path / "dist"]
    built = cli.run("bundle", "build", trained, *words)
    assert built.exit_code == 0, built.stderr
    root = unpack(Path(built.stdout.strip()), tmp_path / "unpacked")
    exports = json.loads((root / "configs" / "metadata.json").read_text())["exports"]
    assert exports["onnx"]["sha256"] == sha256_of(root / "models" / "model.onnx")
    assert 0 <= exports["onnx"]["max_abs_difference"] < 1e-3


def test_a_training_is_registered_by_the_command(tmp_path: Path) -> None:
    toy_workflow(make_data(tmp_path / "data"), tmp_path / "out", **{"hparams#max_epochs": 1}).run()
    done = cli.run("bundle", "register", tmp_path / "out")
    assert (done.exit_code, done.stdout.strip()) == (0, "models:/toy_bundle/1")


def test_trust_is_an_option_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "")
    cli.run("bundle", "lineage", "spine_mr_disc_grading")
    assert os.environ[TRUST] == ""
    cli.run("--trust", "bundle", "lineage", "spine_mr_disc_grading")
    assert os.environ[TRUST] == "1"


def test_the_grader_tells_its_training_and_the_pretraining_before() -> None:
    told = cli.run("bundle", "lineage", "spine_mr_disc_grading").stdout
    assert "training spine_mr_disc_grading_2026" in told
    assert "pretraining spine_mr_siamese_pretraining_2026" in told
    assert "crops manifest_sha256: " in told

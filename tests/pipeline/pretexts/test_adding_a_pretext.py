"""docs/adding-a-pretext.md, done as it says: two files make a task, and nothing else is touched."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from toy.cli import names, run

from siamed.pipeline.bundles import load_network
from siamed.pipeline.pretexts.pretrain import find_pretexts
from siamed.pipeline.sharing.foreign import TRUST

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "adding-a-pretext.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`:\n```\w+\n(.*?)^```$", TEXT, re.M | re.S))
COMMANDS = [shlex.split(line) for line in re.findall(r"^siamed .*$", TEXT, re.M)]
TASK = "darkened"
SMALL: dict[str, Any] = {
    "device": "cpu",
    "val_interval": 1,
    "hparams#features": [8, 16],
    "hparams#crop": [3, 32, 32],
    "hparams#batch_size": 2,
    "hparams#items_per_epoch": 4,
    "hparams#max_epochs": 1,
    "hparams#watched_items": 4,
}


def write_phantoms(folder: Path) -> None:
    """Three bodies with one organ on one side, on the grid that the bundle resamples to."""
    folder.mkdir()
    affine = np.array([[0, 0, -3.0, 0], [0, -3.0, 0, 0], [-7.7, 0, 0, 0], [0, 0, 0, 1]])  # axes grow I, P, L
    rows, columns = np.ogrid[:40, :40]
    body = (rows - 20) ** 2 + (columns - 20) ** 2 < 17**2
    organ = (rows - 16) ** 2 + (columns - 12) ** 2 < 6**2
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 5, (12, 40, 40))
        image = noise + 20 + 80 * body + (60 + 10 * np.arange(12)[:, None, None]) * organ
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), folder / f"scan_{number}.nii.gz")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which somebody follows the document, after its first step; scans are in SCANS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(TRUST, "0")  # what --trust sets must not outlive the test
    write_phantoms(tmp_path / "SCANS")
    (code,) = re.findall(r'^cp -r "\$\(python -c "(.*)"\)" my_bundle$', TEXT, re.M)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, {})
    shutil.copytree(said.getvalue().strip(), "my_bundle")
    Path("my_tasks").mkdir()
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_tasks"]:
        del sys.modules[name]


def written(folder: Path) -> set[str]:
    return {name for part in ("my_bundle", "my_tasks") for name in _below(folder, part)}


def _below(folder: Path, part: str) -> list[str]:
    return [f"{part}/{name}" for name in names(folder / part) if "__pycache__" not in name]


def test_the_document_names_two_files_and_two_commands() -> None:
    assert [Path(name).suffix for name in FILES] == [".py", ".yaml"]
    assert [words[:4] for words in COMMANDS] == [["siamed", "--trust", "pretrain", "--bundle"]] * 2
    assert ["--look" in words for words in COMMANDS] == [True, False]


def test_one_transform_and_one_block_are_a_task_that_is_shown_and_trained(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, known = written(workplace), find_pretexts("my_bundle")
    assert TASK not in known
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    assert find_pretexts("my_bundle") == {**known, TASK: (Path(list(FILES)[1]).stem,)}

    entries = [f"{name}={value}" for name, value in SMALL.items()]
    look, train = ([*words[1:], *entries] for words in COMMANDS)
    for words in (look, train):
        refused = run(*(word for word in words if word != "--trust"))
        assert refused.exit_code == 2
        assert "my_tasks.rand_darken_quadrant" in refused.stderr
        assert "--trust" in refused.stderr
    out = workplace / "runs" / TASK
    assert not out.exists()

    looked = run(*look)
    assert looked.exit_code == 0, looked.output
    assert (out / "items.png").read_bytes()[:4] == b"\x89PNG"
    assert names(out) == {"items.png"}

    trained = run(*train)
    assert trained.exit_code == 0, trained.output
    assert json.loads((out / "run.json").read_text())["status"] == "FINISHED"
    (row,) = json.loads((out / "history.json").read_text())
    assert 0 <= row["val_score"] <= 1
    assert row["val_chance"] == 0.25
    bundle = Path(trained.stdout.strip().splitlines()[-1])
    assert (workplace / bundle / "models" / "model.pt").is_file()
    assert find_pretexts(workplace / bundle)[TASK] == ()  # what it was trained by is its train configuration
    assert written(workplace) - before == set(FILES)

    monkeypatch.setenv(TRUST, "0")  # as where MONAI trains: what has run is trusted to be built into a bundle
    with pytest.raises(RuntimeError, match="bundle_entry"):
        load_network(bundle)
    assert load_network(bundle, trusted=True).members == 1

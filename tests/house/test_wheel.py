"""A wheel holds every file of the rooms, and an installation from it finds its bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from house.tree import PACKAGE, ROOMS, project_files

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools leaves build folders beside the sources.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in project_files(ROOT):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(source)], check=True)
    (built,) = out.glob(f"{PACKAGE}-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    relative = [path.relative_to(ROOT) for path in project_files(ROOT)]
    wanted = {f"{PACKAGE}/{path.as_posix()}" for path in relative if path.parts[0] in ROOMS}
    assert held == wanted | {f"{PACKAGE}/__init__.py", f"{PACKAGE}/py.typed"}


def test_an_installed_wheel_finds_its_bundles_and_its_command(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "import importlib.resources, siamed.pipeline.cli; print(siamed.__file__); "
        "rooms = importlib.resources.files('siamed.bundles').iterdir(); "
        "print(*sorted(room.name for room in rooms if room.joinpath('configs').is_dir()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    where, bundles = ran.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert bundles.split() == sorted(
        path.parent.name for path in (ROOT / "bundles").glob("*/configs") if path.is_dir()
    )

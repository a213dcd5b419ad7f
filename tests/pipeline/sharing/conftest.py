"""A small sound bundle, as a folder with its hashes and as the zip that people download."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy.training import TOY, untrained_weights
from toy.web import Web, serving

from siamed.pipeline.build_bundle import build_bundle
from siamed.pipeline.sharing.archive import unpack
from siamed.pipeline.sharing.publish import publish


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle with weights, as a training leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    torch.save(untrained_weights(), folder / "checkpoint.pt")
    return build_bundle(TOY, folder / "checkpoint.pt", folder / TOY.name)


@pytest.fixture(scope="session")
def site(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder with one version of the toy bundle."""
    folder = tmp_path_factory.mktemp("site")
    publish([trained], folder)
    return folder


@pytest.fixture
def zip_file(site: Path, tmp_path: Path) -> Path:
    """The published zip, a copy of one's own."""
    (file,) = site.glob("*.zip")
    return Path(shutil.copy(file, tmp_path / file.name))


@pytest.fixture
def released(site: Path, tmp_path: Path) -> Path:
    """The published bundle unpacked, hashes included, a copy of one's own."""
    (file,) = site.glob("*.zip")
    return unpack(file, tmp_path / "released")


@pytest.fixture
def web(site: Path, tmp_path: Path) -> Iterator[tuple[Web, Path]]:
    """A server of a copy of the site, and the folder it serves."""
    folder = Path(shutil.copytree(site, tmp_path / "served"))
    with serving(folder) as running:
        yield running, folder

"""What all tests share: where the development data is, and nothing of the shell that runs them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before any test module imports them: figures need no display, a model hub is never asked, a tracking server
# that the shell names would win over the stores that tests make, and a bundle that was downloaded over ours.
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
for _name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MONAI_EVAL_EXPR"):
    os.environ.pop(_name, None)
for _name in ("SIAMED_TRUST", "SIAMED_BUNDLE_INDEX"):
    os.environ.pop(_name, None)
os.environ["SIAMED_BUNDLES"] = str(ROOT / "tests" / "no_bundles_downloaded")


def _data_folder() -> Path | None:
    named = os.environ.get("SIAMED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands and bundles set logging up for a whole process; a test must not do so for the next one."""
    siamed, root = logging.getLogger("siamed"), logging.getLogger()
    before = siamed.level, siamed.propagate, root.level, list(root.handlers)
    yield
    siamed.setLevel(before[0])
    siamed.propagate = before[1]
    root.setLevel(before[2])
    root.handlers[:] = before[3]
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.name.startswith("siamed"):
            logger.disabled = False


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The development data, or a skip that says where it was looked for. For tests marked `data`."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("no development data: neither $SIAMED_DATA nor ../shared/data is a folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    no_data = _data_folder() is None
    for item in items:
        if no_data and item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="no development data: set $SIAMED_DATA"))
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()

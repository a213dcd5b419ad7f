"""The toy bundle's data, and its training in this process: what the tests of training share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow

TOY = Path(__file__).resolve().parents[1] / "data" / "toy_bundle"


def make_data(folder: Path) -> Path:
    """Sixteen training and eight validation images of 16 x 16, one half brighter, and split.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    split: dict[str, list[dict[str, Any]]] = {"training": [], "validation": []}
    for part, count in (("training", 16), ("validation", 8)):
        for i in range(count):
            image = rng.normal(0, 0.7, (16, 16)).astype(np.float32)
            half = slice(None, 8) if i % 2 == 0 else slice(8, None)
            image[:, half] += 1
            name = f"{part}_{i:02d}.npy"
            np.save(folder / name, image)
            split[part].append({"image": name, "label": i % 2})
    (folder / "split.json").write_text(json.dumps(split))
    return folder


def untrained_weights() -> dict[str, torch.Tensor]:
    """The state dictionary of the toy's network, the same each time."""
    parser = ConfigParser()
    parser.read_config(str(TOY / "configs" / "train.yaml"))
    torch.manual_seed(0)
    return dict(parser.get_parsed_content("network_def").state_dict())


def toy_workflow(data: Path, output: Path, *, config: str = "train", **overrides: Any) -> ConfigWorkflow:
    """The toy's training (or another of its configurations, joined by ``+``), ready to run on the CPU."""
    files = [str(TOY / "configs" / f"{part}.yaml") for part in config.split("+")]
    given = {"dataset_dir": str(data), "output_dir": str(output), "device": "cpu", **overrides}
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **given)
    workflow.initialize()
    return workflow


def trainer_of(workflow: ConfigWorkflow) -> Any:
    """The trainer object of a workflow."""
    return workflow.trainer


def stop_after(workflow: ConfigWorkflow, epoch: int, error: BaseException | int) -> None:
    """Raise ``error`` (or send this process that signal) before the given epoch's end is saved."""

    def stop(engine: Any) -> None:
        if isinstance(error, BaseException):
            raise error
        os.kill(os.getpid(), error)

    trainer_of(workflow).add_event_handler(Events.EPOCH_COMPLETED(once=epoch), stop)

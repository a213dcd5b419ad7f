"""What a bundle's network really receives when its inference runs on data."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from siamed.pipeline.bundles import bundle_parser, bundle_path

from .hushed import hushed

__all__ = ["captured_inputs"]


class _Enough(BaseException):
    """Ends an inference early. Not an Exception: MONAI would wrap it in one of its own."""


class _Capture:
    """A forward pre-hook that keeps inputs of one shape until there are enough."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.inputs: list[torch.Tensor] = []

    def __call__(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        image = torch.as_tensor(inputs[0]).as_subclass(torch.Tensor).detach().cpu().float().clone()
        if not self.inputs or image.shape[1:] == self.inputs[0].shape[1:]:
            self.inputs.append(image)
        if sum(map(len, self.inputs)) >= self.count:
            raise _Enough


def captured_inputs(bundle: str | Path, dataset_dir: str | Path, count: int = 8) -> torch.Tensor:
    """What a bundle's network is given when the bundle's inference runs on data.

    The inference is run as ``configs/inference.yaml`` says, on the CPU, its results thrown away, and stopped
    as soon as there are enough inputs. A disc grader that looks at wide volumes by one dense pass, which is
    another method than ``forward``, looks at them by its views here.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.
        dataset_dir: data as the bundle's inference takes it.
        count: most inputs that are gathered.

    Returns:
        The first inputs of one shape, that of the very first: ``(N, C, ...)`` float32, N at most ``count``.

    Raises:
        ValueError: if the count is below 1, or the data gives no input.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    root, capture, reason = bundle_path(bundle), _Capture(count), ""
    search = list(sys.path)  # MONAI puts a bundle's folder on it, and leaves it there
    with TemporaryDirectory() as output, hushed():
        workflow = _inference(root, dataset_dir, output)
        workflow.network_def.register_forward_pre_hook(capture)
        try:
            workflow.run()
        except _Enough:
            pass
        except Exception as error:
            capture.inputs.clear()
            reason = f" ({error.__cause__ or error})"
        finally:
            sys.path[:] = search
    if not capture.inputs:
        raise ValueError(
            f"dataset_dir must hold data that the inference of {root.name} can run on, "
            f"{Path(dataset_dir).name!r} gave its network no input{reason}: the bundle's docs/README.md says "
            "what it takes"
        )
    return torch.cat(capture.inputs)[:count]


def _inference(root: Path, dataset_dir: str | Path, output: str) -> ConfigWorkflow:
    """A bundle's inference, ready to run."""
    overrides: dict[str, Any] = {"dataset_dir": str(dataset_dir), "output_dir": output, "device": "cpu"}
    parser = bundle_parser(root)
    if "hparams" in parser and parser.get_parsed_content("hparams").get("dense"):
        overrides["inferer#hparams"] = "$dict(@hparams, dense=False)"
    yaml = root / "configs" / "inference.yaml"
    file = yaml if yaml.is_file() else yaml.with_suffix(".json")
    workflow = ConfigWorkflow(str(file), logging_file=False, workflow_type="infer", **overrides)
    workflow.initialize()
    return workflow

"""A bundle's network as programs that run without its Python: ``torch.export``, ONNX and TorchScript.

``models/model.pt2`` is what ``torch.export.load`` reads, ``models/model.onnx`` what onnxruntime and others
read (opset as torch chooses it, weights inside), ``models/model.ts`` what ``torch.jit.load`` reads; torch
deprecates the last, so it is written only if asked for. Each takes one float32 tensor, ``image``, and gives
one, ``pred``. The batch is of any size. Spatial dimensions are those of the inputs; where the bundle's
metadata says that they are multiples (``16*n``) they stay free, from two multiples on.

A file holds nothing of where it was made: networks are traced on zeros, since torch stores an example input
beside the program, and the lines of source that it notes with each operation, and their paths, are taken out.
What a file computes is compared with the network itself on real inputs before it is put in place. The same
network gives the same bytes, but for TorchScript.
"""

from __future__ import annotations

import copy
import logging
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from siamed.pipeline.bundles import bundle_parser, bundle_path, load_network
from siamed.pipeline.experiments.files import read_json, replace_file, sha256_of

from .input_format import InputFormat

__all__ = [
    "EXPORTS",
    "captured_inputs",
    "exported_network",
    "export_bundle",
    "export_network",
    "free_dimensions",
    "largest_difference",
]

EXPORTS = ("pt2", "onnx", "ts")
"""Formats, by the ending of their file."""

_AXES = ("depth", "height", "width")
# What these say is no concern of a user: torchvision is missing, no file to log to, a run ended on purpose.
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "monai.bundle.workflows", "ignite")
_WARNINGS = (
    (".*torch.jit.*", DeprecationWarning),
    (".*LeafSpec.*", FutureWarning),
    # Of weights that are stored channels last: they are whole.
    ("No complete tensor found in the group", UserWarning),
)

Function = Callable[[torch.Tensor], torch.Tensor]


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


class _GroupNormByAxis(nn.Module):
    """Group norm whose means are taken axis by axis.

    ONNX writes a group norm as InstanceNormalization, and onnxruntime (1.31) adds up all values of a group in
    single precision, one after the other: over the 3.3 million of a 64 x 80 x 80 window logits are off by
    0.03. Means of means are as exact as torch's.

    Args:
        norm: whose groups and weights are taken.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        parts = image.unflatten(1, (self.groups, -1))
        centered = parts - _mean_by_axis(parts)
        scale = torch.rsqrt(_mean_by_axis(centered.square()) + self.eps)
        shape = (1, self.groups, -1, *(1 for _ in image.shape[2:]))
        return (centered * (scale * self.weight.view(shape)) + self.bias.view(shape)).flatten(1, 2)


def _mean_by_axis(parts: torch.Tensor) -> torch.Tensor:
    """Mean of each group of ``(B, groups, ...)``, with its axes kept."""
    for axis in range(parts.ndim - 1, 1, -1):
        parts = parts.mean(axis, keepdim=True)
    return parts


def _with_exact_norms(network: nn.Module) -> nn.Module:
    """A copy of a network that onnxruntime computes as exactly as torch does the network itself."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm) and child.affine:
                setattr(module, name, _GroupNormByAxis(child))
    return network


@contextmanager
def _hushed() -> Iterator[None]:
    """No log messages and no warnings of the libraries about themselves."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            for message, category in _WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
    with TemporaryDirectory() as output, _hushed():
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


def free_dimensions(bundle: str | Path) -> dict[int, int]:
    """Spatial dimensions that a bundle's metadata leaves open, and what they are multiples of.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.

    Returns:
        Axis of the batch (2 is the first spatial one) to its divisor: ``{2: 32, 3: 32}`` for
        ``["32*n", "32*n"]``.
    """
    metadata = read_json(bundle_path(bundle) / "configs" / "metadata.json")
    return InputFormat.of_metadata(metadata).free_dimensions


def export_network(
    network: nn.Module,
    input_shape: Sequence[int],
    path: str | Path,
    format: str,
    free: Mapping[int, int] | None = None,
) -> None:
    """Write a network as a program, unchecked.

    It is traced on two inputs of zeros (of one, torch would fix the batch); its values are never looked at.

    Args:
        network: maps one tensor to one, in evaluation mode, on the CPU.
        input_shape: of one input, ``(C, ...)``.
        path: the file to write.
        format: one of :data:`EXPORTS`.
        free: see :func:`free_dimensions`; TorchScript leaves all dimensions free.

    Raises:
        ValueError: if there is no such format.
    """
    if format not in EXPORTS:
        raise ValueError(f"format must be one of {list(EXPORTS)}, got {format!r}")
    zeros, dimensions = torch.zeros(2, *input_shape), _dimensions(input_shape, free or {})
    with _hushed():
        if format == "pt2":
            _write_pt2(network, zeros, dimensions, Path(path))
        elif format == "onnx":
            _write_onnx(network, zeros, dimensions, Path(path))
        else:
            _write_ts(network, Path(path))


def _dimensions(input_shape: Sequence[int], free: Mapping[int, int]) -> dict[int, Any]:
    names = dict(zip(range(len(input_shape), 1, -1), reversed(_AXES), strict=False))
    sizes = {axis: torch.export.Dim(names[axis]) for axis in free}
    return {0: torch.export.Dim("batch")} | {
        axis: size if free[axis] == 1 else free[axis] * size for axis, size in sizes.items()
    }


def _write_pt2(network: nn.Module, zeros: torch.Tensor, dimensions: dict[int, Any], path: Path) -> None:
    program = torch.export.export(network, (zeros,), dynamic_shapes=(dimensions,), strict=False)
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    torch.export.save(program, path)


def _write_onnx(network: nn.Module, zeros: torch.Tensor, dimensions: dict[int, Any], path: Path) -> None:
    import onnx

    program = torch.onnx.export(
        _with_exact_norms(network),
        (zeros,),
        dynamo=True,
        dynamic_shapes=(dimensions,),
        input_names=["image"],
        output_names=["pred"],
        verbose=False,
    )
    model = program.model_proto  # type: ignore[union-attr]
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
    onnx.save_model(model, str(path), save_as_external_data=False)


def _write_ts(network: nn.Module, path: Path) -> None:
    with TemporaryDirectory() as scratch:
        whole = Path(scratch) / path.name
        torch.jit.script(network).save(str(whole))
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                if not entry.filename.endswith(".debug_pkl"):  # lines of source and their paths
                    target.writestr(entry, source.read(entry))


def exported_network(path: str | Path, format: str) -> Function:
    """An exported network as a function of one tensor, on the CPU.

    Args:
        path: the file.
        format: one of :data:`EXPORTS`.

    Raises:
        ValueError: if there is no such format.
    """
    with _hushed():
        if format == "pt2":
            return torch.export.load(path).module()
        if format == "ts":
            return torch.jit.load(str(path), map_location="cpu")
    if format != "onnx":
        raise ValueError(f"format must be one of {list(EXPORTS)}, got {format!r}")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": image.contiguous().numpy()})[0])


@torch.inference_mode()
def largest_difference(
    network: Function, exported: Function, inputs: torch.Tensor, free: Mapping[int, int] | None = None
) -> float:
    """The largest absolute difference between a network and what was exported of it.

    The network sees all inputs at once; the exported one sees the first alone, the first two, and all. What
    an input gives must not depend on what lies beside it. Where spatial dimensions are free, two inputs are
    also compared with a multiple cut off from each that has more than two.

    Args:
        network: the network itself, in evaluation mode.
        exported: of :func:`exported_network`.
        inputs: ``(N, C, ...)``, N at least 2.
        free: see :func:`free_dimensions`.

    Returns:
        The difference; infinite where a shape differs or a value is not a number.
    """
    expected = network(inputs)
    gaps = [_gap(exported(inputs[:n]), expected[:n]) for n in sorted({1, 2, len(inputs)})]
    smaller = inputs[:2]
    for axis, divisor in (free or {}).items():
        if smaller.shape[axis] > 2 * divisor:
            smaller = smaller.narrow(axis, 0, smaller.shape[axis] - divisor)
    if smaller.shape != inputs[:2].shape:
        smaller = smaller.contiguous()
        gaps.append(_gap(exported(smaller), network(smaller)))
    return max(gaps)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    gap = float((one - other).abs().max())
    return gap if gap == gap else float("inf")


def export_bundle(
    bundle: str | Path,
    folder: str | Path,
    formats: Sequence[str],
    inputs: torch.Tensor,
    tolerance: float = 1e-3,
    tell: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Export a bundle's network, check each file on real inputs, and put all of them in place or none.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.
        folder: where ``model.<format>`` are written, usually the bundle's ``models/``; made if missing.
        formats: of :data:`EXPORTS`; "pt2" and "onnx" are what torch goes on with.
        inputs: ``(N, C, ...)``, N at least 2, as :func:`captured_inputs` gives them.
        tolerance: largest absolute difference from the network itself that is accepted.
        tell: told the name of each file before it is made.

    Returns:
        For each format ``file``, ``sha256``, ``size_bytes``, ``max_abs_difference``, ``inputs`` (on how many
        it was compared) and ``input_shape``, of one of them; ``free`` names the dimensions that may change.

    Raises:
        ValueError: if a format is unknown, the inputs are fewer than 2, or a file differs by more than the
            tolerance; the folder is then as it was.
    """
    _check_arguments(formats, inputs)
    network, free = load_network(bundle), free_dimensions(bundle)
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as scratch:
        for format in dict.fromkeys(formats):
            file = Path(scratch) / f"model.{format}"
            if tell is not None:
                tell(file.name)
            export_network(network, inputs.shape[1:], file, format, free)
            gap = largest_difference(network, exported_network(file, format), inputs, free)
            if gap > tolerance:
                raise ValueError(
                    f"bundle must compute the same when exported, {bundle_path(bundle).name} as {format} "
                    f"differs by {gap:.2g} on the inputs, tolerance {tolerance:g}: nothing was written"
                )
            found[format] = {**_described(file), "max_abs_difference": gap, **_compared(inputs, free)}
        for format in found:
            _put(Path(scratch) / f"model.{format}", Path(folder) / f"model.{format}")
    return found


def _check_arguments(formats: Sequence[str], inputs: torch.Tensor) -> None:
    unknown = [format for format in formats if format not in EXPORTS]
    if isinstance(formats, str) or unknown:
        raise ValueError(f"formats must be a list of {list(EXPORTS)}, got {formats!r}")
    if inputs.ndim < 3 or len(inputs) < 2 or inputs.dtype != torch.float32:
        raise ValueError(
            f"inputs must be (N, C, ...) float32 with N at least 2, got {tuple(inputs.shape)} "
            f"{inputs.dtype}: capture them from more data"
        )


def _described(file: Path) -> dict[str, Any]:
    return {"file": file.name, "sha256": sha256_of(file), "size_bytes": file.stat().st_size}


def _compared(inputs: torch.Tensor, free: Mapping[int, int]) -> dict[str, Any]:
    names = _dimensions(inputs.shape[1:], free)
    return {
        "inputs": len(inputs),
        "input_shape": list(inputs.shape[1:]),
        "free": [str(size.__name__) for size in names.values()],
    }


def _put(made: Path, path: Path) -> None:
    replace_file(path, lambda beside: shutil.copyfile(made, beside))

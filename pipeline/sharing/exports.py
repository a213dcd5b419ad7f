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

import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from siamed.networks.exact_group_norm import with_exact_norms
from siamed.pipeline.bundles import bundle_path, load_network
from siamed.pipeline.experiments.files import read_json, replace_file, sha256_of

from .hushed import hushed
from .input_format import InputFormat

__all__ = [
    "EXPORTS",
    "exported_network",
    "export_bundle",
    "export_network",
    "free_dimensions",
    "largest_difference",
]

EXPORTS = ("pt2", "onnx", "ts")
"""Formats, by the ending of their file."""

_AXES = ("depth", "height", "width")
Function = Callable[[torch.Tensor], torch.Tensor]


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
    with hushed():
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
        with_exact_norms(network),
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
    with hushed():
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
        inputs: ``(N, C, ...)``, N at least 2, as
        :func:`~siamed.pipeline.sharing.captured_inputs.captured_inputs` gives them.
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

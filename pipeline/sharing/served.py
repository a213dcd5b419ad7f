"""A bundle as MLflow loads and serves it: the loader module of registered models.

``mlflow.pyfunc.load_model`` and ``mlflow models serve`` call :func:`_load_pyfunc` with the folder of a
bundle. A row of the input has one of two columns, and they are answered by different things:

``path``
    A NIfTI file that the serving process can read. It goes the whole way of ``configs/inference.yaml``: the
    bundle's preprocessing, inferer and postprocessing, as ``python -m monai.bundle run`` builds them, but
    nothing is written to disk.
``image``
    One input of the network as ``network_data_format`` in ``configs/metadata.json`` describes it, channels
    first, prepared by the caller. It goes through the network alone and its raw output comes back: no
    preprocessing, no inferer, no activation. A whole scan does not fit here: give its path.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, list_data_collate

from siamed.pipeline.bundles import bundle_parser, bundle_path, load_network
from siamed.pipeline.experiments.files import read_json

from .input_format import InputFormat, only_tensor

__all__ = ["ServedBundle"]

_NIFTI = (".nii", ".nii.gz")


class ServedBundle:
    """A bundle that answers rows of paths or of network inputs.

    Args:
        bundle: its folder, or the name of a shipped bundle.

    Raises:
        ValueError: if there is no such bundle, or its network has several inputs or outputs.
        FileNotFoundError: if it has no weights or no ``configs/inference.yaml``.
    """

    def __init__(self, bundle: str | Path) -> None:
        root = bundle_path(bundle)
        metadata = read_json(root / "configs" / "metadata.json")
        self.input = InputFormat.of_metadata(metadata)
        self.channels = _channel_names(metadata)
        parser = bundle_parser(root)
        self.device = torch.device(parser.get_parsed_content("device") if "device" in parser else "cpu")
        self.network = load_network(root, self.device)
        _drop_savers(parser)
        self._prepare = parser.get_parsed_content("preprocessing")
        self._infer = parser.get_parsed_content("inferer")
        self._finish = parser.get_parsed_content("postprocessing") if "postprocessing" in parser else None

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Answer each row of a table; deterministic.

        Args:
            model_input: a pandas DataFrame; each row has ``path`` or ``image``, see the module. A cell of
                several paths counts as so many rows.
            params: none are known; MLflow passes them.

        Shape:
            image: (C, ...) as ``network_data_format`` says, without a batch axis.

        Returns:
            A dictionary a row, plain enough for JSON. ``output``: nested lists, or what the bundle's inferer
            gives of a scan (grades by task, found vertebrae). ``shape``: of ``output``. ``channels``: names
            along its first axis. A volume on the scan's grid comes as ``nifti`` instead of ``output``: a
            gzipped NIfTI file in base64.

        Raises:
            TypeError: if the input is no table.
            ValueError: if a row has neither column or both, a path is no NIfTI file, or an image does not fit
                the network.
            CaseError: if a scan cannot be read as the bundle needs it.
        """
        return [
            self.answer_path(value) if name == "path" else self.answer_image(value)
            for name, value in _cells(model_input)
        ]

    @torch.inference_mode()
    def answer_image(self, image: Any) -> dict[str, Any]:
        """Answer one input of the network; see :meth:`predict`."""
        try:
            array = np.asarray(image, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"image must be numbers in lists of equal length, shape {self.input}: {error}"
            ) from error
        self.input.check(array.shape)
        if not np.isfinite(array).all():
            raise ValueError("image must be finite, it holds NaN or infinity: replace them before")
        output = self.network(torch.from_numpy(array)[None].to(self.device))[0]
        return _tensor_answer(output, self.channels)

    @torch.inference_mode()
    def answer_path(self, path: str | Path) -> dict[str, Any]:
        """Answer one NIfTI file; see :meth:`predict`."""
        file = Path(path)
        if not file.name.endswith(_NIFTI):
            raise ValueError(f"path must name a NIfTI file (.nii, .nii.gz), got {file.name!r}: convert it")
        if not file.is_file():
            raise ValueError(
                f"path must be a file on the serving machine, there is no {file.name!r}: give its full path"
            )
        name = file.name.removesuffix(".gz").removesuffix(".nii")
        item = self._prepare({"image": str(file), "name": name})
        batch = list_data_collate([item])
        found = self._infer(batch["image"].to(self.device), self.network)[0]
        if self._finish is not None:
            found = self._finish({**item, "pred": found})["pred"]
        if isinstance(found, MetaTensor) and found.ndim == 4:
            return _volume_answer(found)
        if isinstance(found, torch.Tensor):
            # Names of the network's channels hold behind the postprocessing for a vector of classes alone.
            return _tensor_answer(found, self.channels if found.ndim == 1 else ())
        return {"output": _plain(found)}


def _load_pyfunc(data_path: str) -> ServedBundle:
    """MLflow's way in: the model of the bundle in a folder."""
    return ServedBundle(data_path)


def _channel_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels of the network's output, in order."""
    names = only_tensor(metadata, "outputs").get("channel_def", {})
    return tuple(names[key] for key in sorted(names, key=int))


def _drop_savers(parser: ConfigParser) -> None:
    """Take the transforms that write files out of a postprocessing."""
    transforms = parser.get("postprocessing", {})
    if isinstance(transforms, Mapping) and isinstance(transforms.get("transforms"), list):
        kept = [t for t in transforms["transforms"] if not _is_saver(t)]
        parser["postprocessing#transforms"] = kept


def _is_saver(transform: Any) -> bool:
    target = transform.get("_target_", "") if isinstance(transform, Mapping) else ""
    return str(target).rsplit(".", 1)[-1].startswith("Save")


def _cells(model_input: Any) -> Iterator[tuple[str, Any]]:
    """The one given cell of each row, with its column's name."""
    if not hasattr(model_input, "to_dict") or not hasattr(model_input, "columns"):
        raise TypeError(f"model_input must be a pandas DataFrame, got {type(model_input).__name__}")
    how = "give {'path': file} or {'image': nested list} a row, in REST as 'dataframe_records'"
    if not {"path", "image"} & set(model_input.columns):
        columns = [str(column) for column in model_input.columns]
        raise ValueError(f"model_input must have a column 'path' or 'image', got {columns}: {how}")
    for number, row in enumerate(model_input.to_dict("records")):
        given = [name for name in ("path", "image") if not _is_missing(row.get(name))]
        if len(given) != 1:
            raise ValueError(
                f"model_input must have 'path' or 'image' in each row, row {number} has "
                f"{'both' if given else 'neither'}: {how}"
            )
        (name,) = given
        if name == "path":
            yield from (("path", str(path)) for path in np.atleast_1d(row["path"]))
        else:
            yield "image", row["image"]


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _tensor_answer(output: torch.Tensor, channels: Sequence[str]) -> dict[str, Any]:
    array = output.detach().float().cpu().numpy()
    answer: dict[str, Any] = {"output": array.tolist(), "shape": list(array.shape)}
    if channels and array.ndim and len(channels) == array.shape[0]:
        answer["channels"] = list(channels)
    return answer


def _volume_answer(volume: MetaTensor) -> dict[str, Any]:
    """A volume ``(C, I, J, K)`` as NIfTI: a CT's labels as nested lists would take gigabytes."""
    array = np.moveaxis(volume.detach().cpu().numpy(), 0, -1)
    array = array[..., 0] if array.shape[-1] == 1 else array
    labels = array.astype(np.uint8)
    image = nibabel.Nifti1Image(
        labels if np.array_equal(labels, array) else array.astype(np.float32),
        np.asarray(volume.affine, float),
    )
    packed = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    return {"nifti": base64.b64encode(packed).decode("ascii"), "shape": list(array.shape)}


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and tensors as JSON knows them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    return value

"""Exports of a network: they compute what it does, on any batch, without siamed, and tell of no machine."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from monai.transforms import ScaleIntensity
from torch import nn
from toy.samples import SAMPLES
from toy.training import TOY, make_data

from siamed.networks.pretext_net import PretextNet, VectorHead
from siamed.networks.unet import UNetEncoder
from siamed.pipeline.bundles import load_network
from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.sharing import exports
from siamed.pipeline.sharing.captured_inputs import captured_inputs
from siamed.pipeline.sharing.exports import (
    EXPORTS,
    export_bundle,
    export_network,
    exported_network,
    free_dimensions,
    largest_difference,
)

SHIPPED = sorted(name for name in SAMPLES if name != TOY.name)


@pytest.fixture(scope="module")
def toy(trained: Path) -> Path:
    """The toy bundle with untrained weights."""
    return trained


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's images."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def exported(toy: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The toy in all formats, checked on six of its inputs, and what was said of them."""
    folder = tmp_path_factory.mktemp("exported") / "models"
    return folder, export_bundle(toy, folder, EXPORTS, captured_inputs(toy, data, 6))


def images(data: Path) -> torch.Tensor:
    """The toy's validation images as its preprocessing gives them, read by hand."""
    files = sorted(data.glob("validation_*.npy"))
    return torch.stack([torch.as_tensor(ScaleIntensity()(np.load(file)[None])) for file in files])


class Centered(nn.Module):
    """What it gives of an input depends on the batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - image.mean(0, keepdim=True)


class Convolved(nn.Module):
    """One convolution over an image of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


def test_captured_inputs_are_what_preprocessing_gives(toy: Path, data: Path) -> None:
    expected = images(data)
    torch.testing.assert_close(captured_inputs(toy, data), expected, rtol=0, atol=1e-6)
    first = captured_inputs(toy, data, 3)
    torch.testing.assert_close(first, expected[:3], rtol=0, atol=1e-6)
    assert type(first) is torch.Tensor
    assert not first.is_inference()


def test_capturing_leaves_the_search_path_and_the_logs_as_they_were(
    toy: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = list(sys.path)
    captured_inputs(toy, data, 2)
    assert sys.path == before
    assert [one for one in caplog.records if one.name.startswith(("ignite", "monai.bundle"))] == []


def test_a_grader_is_fed_view_by_view_where_it_would_look_by_a_dense_pass(tmp_path: Path) -> None:
    import nibabel

    for number in range(2):  # as wide as `siamed extract` cuts them: the grader would take the dense pass
        volume = np.random.default_rng(number).random((9, 160, 320)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{number}.nii.gz")
    assert captured_inputs("spine_mr_disc_grading", tmp_path).shape == (2, 1, 1, 56, 112)


@pytest.mark.parametrize(
    ("count", "message"), [(0, "count must be at least 1, got 0"), (4, "gave its network")]
)
def test_data_that_gives_no_input_is_refused(toy: Path, tmp_path: Path, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        captured_inputs(toy, tmp_path, count)


def test_each_format_agrees_with_the_network(exported: tuple[Path, dict], toy: Path, data: Path) -> None:
    folder, found = exported
    assert sorted(file.name for file in folder.iterdir()) == ["model.onnx", "model.pt2", "model.ts"]
    network, inputs = load_network(toy), images(data)
    for format, told in found.items():
        file = folder / told["file"]
        assert told["sha256"] == sha256_of(file)
        assert told["size_bytes"] == file.stat().st_size
        assert (told["inputs"], told["input_shape"], told["free"]) == (6, [1, 16, 16], ["batch"])
        assert told["max_abs_difference"] < 1e-5
        function = exported_network(file, format)
        for batch in (inputs[:1], inputs[:2], inputs):
            with torch.inference_mode():
                torch.testing.assert_close(function(batch), network(batch), rtol=0, atol=1e-5)


def test_files_hold_no_input_and_no_path(exported: tuple[Path, dict]) -> None:
    folder, _ = exported
    places = (Path(exports.__file__).resolve().parents[2], Path(torch.__file__).resolve().parents[1])
    kept = [str(place).encode() for place in places]
    for file in folder.iterdir():
        parts = [file.read_bytes()]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                parts += [archive.read(name) for name in archive.namelist()]
        assert not any(place in part for part in parts for place in kept), file.name
    assert torch.export.load(folder / "model.pt2").example_inputs in (None, ((), {}))


def test_onnx_is_one_file_with_a_free_batch(exported: tuple[Path, dict]) -> None:
    graph = onnx.load(exported[0] / "model.onnx", load_external_data=False).graph
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)
    sizes = [size.dim_param or size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
    assert (graph.input[0].name, graph.output[0].name, sizes) == ("image", "pred", ["batch", 1, 16, 16])


ALONE = """
import sys
sys.modules["siamed"] = sys.modules["torch"] = sys.modules["monai"] = None  # an import of them fails
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
numpy.save(sys.argv[3], session.run(["pred"], {"image": numpy.load(sys.argv[2])})[0])
"""


def test_onnx_runs_where_there_is_neither_siamed_nor_torch(
    exported: tuple[Path, dict], toy: Path, data: Path, tmp_path: Path
) -> None:
    inputs = images(data)[:5]
    np.save(tmp_path / "image.npy", inputs.numpy())
    words = [str(exported[0] / "model.onnx"), str(tmp_path / "image.npy"), str(tmp_path / "pred.npy")]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        expected = load_network(toy)(inputs).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "pred.npy"), expected, rtol=0, atol=1e-5)


def export_and_expect(
    toy: Path, folder: Path, inputs: torch.Tensor, message: str, formats: tuple[str, ...] = ("pt2", "onnx")
) -> None:
    """Exporting fails so, and the folder holds what it held."""
    folder.mkdir()
    (folder / "model.pt2").write_bytes(b"older")
    with pytest.raises(ValueError, match=message):
        export_bundle(toy, folder, formats, inputs)
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("model.pt2", b"older")]


def test_a_network_whose_answer_depends_on_the_batch_is_refused(
    toy: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "load_network", lambda bundle: Centered().eval())
    export_and_expect(
        toy, tmp_path / "models", images(data), "toy_bundle as pt2 differs by .*, tolerance 0.001"
    )


def test_a_file_that_computes_something_else_leaves_nothing_behind(
    toy: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path, format: str) -> Callable[[torch.Tensor], torch.Tensor]:
        right = exported_network(path, format)
        return right if format == "pt2" else lambda image: right(image) + 0.002

    monkeypatch.setattr(exports, "exported_network", wrong)
    export_and_expect(toy, tmp_path / "models", images(data), "toy_bundle as onnx differs by 0.002")


@pytest.mark.parametrize("wrong", [lambda x: x * np.nan, lambda x: x[:, :, :2], lambda x: x[:1]])
def test_what_is_no_number_or_of_another_shape_differs_infinitely(
    wrong: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    assert largest_difference(nn.Identity(), wrong, torch.rand(3, 1, 4, 4)) == np.inf
    assert largest_difference(nn.Identity(), lambda x: x - 0.5, torch.rand(3, 1, 4, 4)) == 0.5


def test_a_larger_tolerance_lets_it_pass_and_files_are_told_of(
    toy: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exported_network
    monkeypatch.setattr(
        exports, "exported_network", lambda path, format: lambda x: right(path, format)(x) + 0.002
    )
    told: list[str] = []
    found = export_bundle(toy, tmp_path, ["pt2"], images(data), tolerance=0.01, tell=told.append)
    assert found["pt2"]["max_abs_difference"] == pytest.approx(0.002, rel=0.01)
    assert told == ["model.pt2"]


def test_wrong_arguments_are_named(toy: Path, data: Path, tmp_path: Path) -> None:
    inputs = images(data)
    export_and_expect(toy, tmp_path / "a", inputs, "formats must be .* got .*tflite", ("pt2", "tflite"))
    export_and_expect(toy, tmp_path / "b", inputs[:1], "inputs must be .* N at least 2, got .*capture them")
    export_and_expect(toy, tmp_path / "c", inputs.double(), "inputs must be .* float32 .* got .*float64")
    for call in (exported_network, lambda path, format: export_network(nn.Identity(), (1,), path, format)):
        with pytest.raises(ValueError, match="format must be one of .* got 'h5'"):
            call(tmp_path / "model.h5", "h5")


def test_multiples_in_the_metadata_are_free_dimensions(toy: Path) -> None:
    assert free_dimensions(toy) == {}
    assert free_dimensions("kidney_ct_segmentation") == {2: 16, 3: 16, 4: 16}
    assert free_dimensions("spine_mr_vertebra_detection") == {2: 32, 3: 32}


@pytest.mark.parametrize("format", EXPORTS)
def test_free_dimensions_take_other_sizes(format: str, tmp_path: Path) -> None:
    network, file = Convolved().eval(), tmp_path / f"model.{format}"
    export_network(network, (1, 24, 16), file, format, {2: 8, 3: 8})
    function = exported_network(file, format)
    image = torch.rand(3, 1, 16, 40)
    with torch.inference_mode():
        torch.testing.assert_close(function(image), network(image), rtol=0, atol=1e-5)
    assert largest_difference(network, function, torch.rand(2, 1, 24, 16), {2: 8, 3: 8}) < 1e-5


def test_free_dimensions_that_are_not_free_count_as_a_difference() -> None:
    network = Convolved().eval()

    def fixed(image: torch.Tensor) -> torch.Tensor:
        return network(image) if image.shape[2] == 24 else network(image) + 1

    inputs = torch.rand(3, 1, 24, 16)
    assert largest_difference(network, fixed, inputs) < 1e-5
    assert largest_difference(network, fixed, inputs, {2: 8}) == pytest.approx(1, abs=1e-5)


def test_a_group_norm_over_millions_of_values_is_exact_in_onnx(tmp_path: Path) -> None:
    """onnxruntime's own normalization of an instance is off by 1e-4 here."""
    torch.manual_seed(0)
    norm, file = nn.GroupNorm(1, 2), tmp_path / "model.onnx"
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    image = torch.randn(2, 2, 100, 100, 100) + 1
    network = nn.Sequential(norm).eval()
    export_network(network, image.shape[1:], file, "onnx")
    assert largest_difference(network, exported_network(file, "onnx"), image) < 1e-5
    assert isinstance(network[0], nn.GroupNorm)  # the network itself stays as it is


@pytest.mark.parametrize("format", EXPORTS)
def test_a_task_whose_items_have_members_is_exported_for_any_batch(format: str, tmp_path: Path) -> None:
    trunk = UNetEncoder(2, 1, (4, 8), 4)
    network, file = PretextNet(trunk, VectorHead(8, 2, 4, 3), members=2).eval(), tmp_path / "network"
    export_network(network, (2, 8, 8), file, format)
    assert largest_difference(network, exported_network(file, format), torch.rand(3, 2, 8, 8)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_bundle_exports_on_what_its_inference_sees(name: str, tmp_path: Path) -> None:
    inputs = captured_inputs(name, SAMPLES[name](tmp_path / "data").inference["dataset_dir"])
    found = export_bundle(name, tmp_path / "models", EXPORTS, inputs)
    assert sorted(found) == sorted(EXPORTS)
    assert all(told["size_bytes"] < 25e6 for told in found.values())
    assert json.loads(json.dumps(found)) == found

"""Embeddings of volumes as the bundle writes them, and the pictures of a validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from siamed.networks.siamese_dense import SiameseDense
from siamed.networks.siamese_vgg_m import SiameseVGGM
from siamed.pipeline.pairs.figures import LevelConfusion, SamePersonFigure
from siamed.pipeline.pairs.inference import EmbeddingInferer, SaveEmbeddings, WholeVolumeInferer
from siamed.pipeline.pairs.volumes import LEVELS

HPARAMS = {"slices": 1, "field_px": [48, 48], "input_size": [24, 24]}


@pytest.fixture
def network() -> SiameseVGGM:
    torch.manual_seed(0)
    sizes = {"levels": 7, "slices": 1, "spatial_size": (24, 24), "width": 0.05, "hidden": 8, "embedding": 6}
    return SiameseVGGM(
        **sizes,
        dropout=0.0,
        batch_norm=True,
        conv2_stride=1,
        pool5=False,
        volumetric=True,
        normalize=True,
    ).eval()


def test_the_middle_slice_and_the_middle_field_are_embedded(network: SiameseVGGM) -> None:
    volumes = torch.rand(3, 1, 9, 60, 64)
    out = EmbeddingInferer(HPARAMS)(volumes, network)
    assert out.shape == (3, 13)
    # The same by hand: every second pixel's average of the middle 48 x 48 of the fifth slice.
    seen = torch.nn.functional.avg_pool2d(volumes[:, 0, 4:5, 6:54, 8:56], 2)
    expected = network(torch.stack([seen, seen], 1))[:, 0]
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r"inputs must be \(B, 1, at least 1, H, W\)"):
        EmbeddingInferer(HPARAMS)(volumes[:, 0], network)


def test_all_batches_end_in_one_file(tmp_path: Path) -> None:
    outputs = torch.randn(5, 13)
    engine = Engine(lambda _, batch: {"pred": outputs[batch["rows"]]})
    SaveEmbeddings(tmp_path / "out", 6).attach(engine)
    engine.run([{"rows": [0, 1, 2], "name": ["a", "b", "c"]}, {"rows": [3, 4], "name": ["d", "e"]}])
    with np.load(tmp_path / "out" / "embeddings.npz", allow_pickle=False) as file:
        assert file["name"].tolist() == list("abcde")
        np.testing.assert_allclose(file["embedding"], outputs[:, :6].numpy())
        assert file["level"].tolist() == [LEVELS[i] for i in outputs[:, 6:].argmax(1)]
        np.testing.assert_allclose(file["level_probability"], outputs[:, 6:].softmax(1).amax(1), rtol=1e-5)


def test_whole_volumes_are_embedded_as_they_are_and_have_no_level(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SiameseDense(4, 4, [1, 1], 4, 6, True).eval()
    volumes = torch.randn(3, 1, 8, 8, 8)
    out = WholeVolumeInferer()(volumes, network)
    assert out.shape == (3, 6)
    torch.testing.assert_close(out, network(torch.cat([volumes, volumes], 1))[:, 1])
    engine = Engine(lambda _, batch: {"pred": out})
    SaveEmbeddings(tmp_path, 6).attach(engine)
    engine.run([{"name": ["a", "b", "c"]}])
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as file:
        assert sorted(file) == ["embedding", "name"]


def test_pictures_show_the_validations_pairs_and_levels() -> None:
    embeddings = torch.tensor([[0.0], [4.0], [10.0]])
    pred = torch.zeros(3, 2, 8)
    pred[:, :, :1] = torch.stack([embeddings, embeddings + 1], 1)
    pred[:, :, 3] = 1  # every volume is taken for the third level
    label = torch.tensor([[1, 2, 7, 7], [1, 2, 8, 8], [1, 2, 9, 9]])
    engine = Engine(lambda _, rows: {"pred": pred[rows], "label": label[rows]})
    pairs, levels = SamePersonFigure(1), LevelConfusion(1, 7)
    pairs.attach(engine)
    levels.attach(engine)
    for _ in range(2):
        engine.run([[0, 1], [2]])
    figure = pairs(engine)
    assert figure.axes[1].get_title() == "AUC 1.000"
    assert levels.counts[2, 2] == 6  # of the last validation alone
    assert levels.counts.sum() == 6

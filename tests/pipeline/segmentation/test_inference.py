"""From a scan in any orientation to a probability on its own grid."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from siamed.pipeline.segmentation import inference
from siamed.pipeline.segmentation.inference import Segmenter
from siamed.pipeline.segmentation.preprocessing import preprocessing
from siamed.transforms.local_normalization import normalize_locally

HPARAMS = {"spacing_mm": [4.0, 2.0, 2.0], "divisor": 4, "window_hu": [-80, 300], "crop": [8, 16, 16]}


class Bright(nn.Module):
    """Sure of what is more than one standard deviation above the mean."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (image - 1)


def scan(codes: str = "RAS") -> tuple[MetaTensor, np.ndarray]:
    """A bright box, nearer to the right, the front and the top than to their opposites."""
    image = np.full((40, 36, 20), -1000.0, np.float32)
    image[4:36, 4:32] = 0.0
    image[22:32, 18:28, 9:16] = 250.0
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = [-30.0, 10.0, 5.0]
    file = nibabel.Nifti1Image(image, affine)
    wanted = nibabel.orientations.axcodes2ornt(codes)
    turned = file.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted))
    array = np.asarray(turned.dataobj).copy()
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(turned.affine)), array > 200


@pytest.mark.parametrize("codes", ["RAS", "LPS", "IPL", "SAR"])
def test_the_answer_lies_on_the_scans_own_grid(codes: str) -> None:
    image, truth = scan(codes)
    found = Segmenter(Bright(), HPARAMS)(image)
    assert found.shape == tuple(image.shape[1:])
    assert found.dtype == np.float32
    assert np.array_equal(found > 0.5, truth)
    assert 0 <= found.min()
    assert found.max() <= 1


def test_slab_by_slab_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = scan("LPS")
    whole = Segmenter(Bright(), HPARAMS)(image)
    monkeypatch.setattr(inference, "_SLAB_VOXELS", 3 * 36 * 20)
    np.testing.assert_allclose(Segmenter(Bright(), HPARAMS)(image), whole, atol=1e-6)


@pytest.mark.parametrize("crop", [[16, 16, 32], [16, 64, 96], [32, 32, 32]])
def test_the_share_that_is_done_grows_evenly_to_one(crop: list[int]) -> None:
    shares: list[float] = []
    Segmenter(Bright(), {**HPARAMS, "crop": crop}, tell=shares.append)(scan()[0])
    assert shares[-1] == 1.0
    np.testing.assert_allclose(np.diff([0.0, *shares]), 1 / len(shares))


def test_what_the_network_is_shown() -> None:
    image, truth = scan("LPS")
    seen = preprocessing(HPARAMS, load=False)({"image": image})["image"]
    assert tuple(seen.shape) == (1, 20, 36, 40)
    assert nibabel.aff2axcodes(np.asarray(seen.affine)) == ("I", "P", "L")
    np.testing.assert_allclose(np.linalg.norm(np.asarray(seen.affine)[:3, :3], axis=0), [4, 2, 2])
    assert float(seen.mean()) == pytest.approx(0, abs=1e-5)
    assert float(seen.std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    # Clipped to the window: three values, of air, body and box.
    assert len(torch.unique(seen.as_tensor().round(decimals=3))) == 3
    # D runs to the feet, H to the back, W to the left: where the box lies in the body.
    d, h, w = np.argwhere(np.asarray(seen[0]) > 1).mean(0)
    assert d < 9.5
    assert h < 17.5
    assert w < 19.5
    assert truth.any()


def test_labels_become_one_structure_and_windows_must_be_one() -> None:
    image, truth = scan()
    label = MetaTensor(torch.from_numpy(2 * truth.astype(np.float32))[None], affine=image.affine)
    label[:, 0, 0, 0] = 1  # of another organ
    both = preprocessing(HPARAMS, [2, 3], load=False)({"image": image, "label": label})
    assert set(torch.unique(both["label"].as_tensor()).tolist()) == {0.0, 1.0}
    assert int(both["label"].sum()) == int(truth.sum())
    with pytest.raises(ValueError, match="window_hu or surroundings_mm, got both"):
        preprocessing({**HPARAMS, "surroundings_mm": 25.0})
    with pytest.raises(ValueError, match="window_hu or surroundings_mm, got neither"):
        preprocessing({**HPARAMS, "window_hu": None})


def test_mr_is_shown_beside_its_surroundings_as_its_bundle_says() -> None:
    image, _ = scan("IPL")
    plain = np.asarray(image.as_tensor()[0]) + 1100.0  # no value below 0
    mr = {"surroundings_mm": 50.0, "surroundings_floor": 0.1, "window_top": 3.0, "mean_std": [1.0, 0.5]}
    for bright in ((99.0, 1.0), (90.0, 0.5)):
        hparams = {**HPARAMS, **mr, "window_hu": None, "bright": list(bright)}
        shown = MetaTensor(torch.from_numpy(plain)[None].float(), affine=image.affine)
        seen = preprocessing(hparams, load=False)({"image": shown})["image"]
        expected = (normalize_locally(plain, (4.0, 2.0, 2.0), 50.0, 3.0, 0.1, bright) - 1) / 0.5
        assert len(np.unique(expected.round(3))) > 2
        inside = tuple(slice(0, size) for size in plain.shape)  # the rest is padding
        np.testing.assert_allclose(np.asarray(seen[0])[inside], expected, atol=1e-4)


def test_volumes_are_padded_to_what_is_asked_with_the_edge_or_with_zeros() -> None:
    image, _ = scan("IPL")
    for padding, beyond in (("constant", 0.0), ("edge", None)):
        prepare = preprocessing(
            {**HPARAMS, "divisor": [1, 8, 8], "padding": padding}, load=False, least=[30, 8, 8]
        )
        seen = prepare({"image": image})["image"].as_tensor()
        assert seen.shape == (1, 30, 40, 40)  # 20 slices, 36 rows and 40 columns
        top, first = seen[0, 0], seen[0, 5]
        torch.testing.assert_close(top, first if beyond is None else torch.full_like(first, beyond))

"""What is brighter than its surroundings by a factor stays so, whatever the coil and the unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from siamed.transforms.local_normalization import LocalNormalizationd, normalize_locally

BRIGHT = (99.0, 1.0)


def scan() -> np.ndarray:
    """A body with two bright blocks, one at each end, in air."""
    image = np.zeros((60, 40, 20), np.float32)
    image[5:55, 5:35] = 100.0
    image[10:16, 17:23, 8:12] = image[44:50, 17:23, 8:12] = 200.0
    return image


def test_the_blocks_are_alike_however_the_coil_sees_them() -> None:
    coil = np.linspace(0.5, 2.0, 60, dtype=np.float32)[:, None, None]
    found = normalize_locally(scan() * coil, (2.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT)
    assert found.dtype == np.float32
    first, second = (found[part].mean() for part in (np.s_[10:16, 17:23, 8:12], np.s_[44:50, 17:23, 8:12]))
    assert first == pytest.approx(second, rel=0.2)  # the coil sees them three times apart
    assert 1.7 < first < 2.2
    assert found[25:35, 15:25].mean() == pytest.approx(1.0, abs=0.1)
    assert found[0].max() == 0


def test_the_unit_and_the_size_of_voxels_do_not_count() -> None:
    one = normalize_locally(scan(), (2.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT)
    np.testing.assert_allclose(
        normalize_locally(scan() * 1000, (2.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT), one, rtol=1e-4
    )
    fine = normalize_locally(scan().repeat(2, axis=0), (1.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT)
    np.testing.assert_allclose(fine[::2], one, atol=0.05)


def test_one_very_bright_thing_does_not_darken_the_rest() -> None:
    image = scan()
    image[50:52, 30:32, 2:4] = 50_000.0
    plain, found = (normalize_locally(x, (2.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT) for x in (scan(), image))
    np.testing.assert_allclose(found[10:16, 17:23, 8:12], plain[10:16, 17:23, 8:12], rtol=0.02)
    assert found.max() == 3.0


def test_a_cyst_as_large_as_an_organ_darkens_the_rest_little_beside_the_90th_percentile() -> None:
    image = scan()
    image[30:45, 5:20, 4:16] = 1000.0  # one voxel in eighteen
    kept = {
        bright: [
            normalize_locally(x, (2.0, 2.0, 4.0), 200.0, 30.0, 0.1, bright)[20, 30, 10]
            for x in (scan(), image)
        ]
        for bright in (BRIGHT, (90.0, 2.0))
    }
    (plain, darkened), (expected, found) = kept[BRIGHT], kept[90.0, 2.0]
    assert darkened < 0.4 * plain
    assert found > 0.8 * expected


def test_noise_around_the_body_stays_dark_under_a_higher_floor() -> None:
    image = scan()
    image[:5] = 4.0  # below what is taken for body
    dark, bright = (
        normalize_locally(image, (2.0, 2.0, 4.0), 5.0, 3.0, floor, BRIGHT)[0] for floor in (0.1, 0.001)
    )
    assert bright.max() > 1
    assert dark.max() < 0.5


@pytest.mark.parametrize("sigma_mm", [5.0, 200.0])
def test_the_surroundings_are_those_of_a_plain_gaussian(sigma_mm: float) -> None:
    image, spacing = scan(), (2.0, 3.0, 4.0)
    sigma = [sigma_mm / size for size in spacing]
    body = np.minimum(image, 100) / 100  # of which the blocks are no brighter part
    share = ndimage.gaussian_filter(body, sigma, mode="nearest")
    expected = np.clip(image / (100 * share / (share + 0.05) + 0.1 * 100), 0, 3)
    np.testing.assert_allclose(
        normalize_locally(image, spacing, sigma_mm, 3.0, 0.1, BRIGHT), expected, atol=1e-4
    )


def test_nothing_stays_nothing_and_foreign_input_is_refused() -> None:
    assert not normalize_locally(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0), 5.0, 3.0, 0.02, BRIGHT).any()
    image = MetaTensor(torch.from_numpy(scan())[None], affine=torch.diag(torch.tensor([2.0, 2, 4, 1])))
    found = LocalNormalizationd("image", 15.0, 3.0, 0.02, BRIGHT)({"image": image})["image"]
    np.testing.assert_array_equal(
        np.asarray(found[0]), normalize_locally(scan(), (2.0, 2.0, 4.0), 15.0, 3.0, 0.02, BRIGHT)
    )
    assert torch.equal(found.affine, image.affine)
    with pytest.raises(ValueError, match=r"image must be a MetaTensor \(1, I, J, K\), got Tensor"):
        LocalNormalizationd("image", 15.0, 3.0, 0.02, BRIGHT)({"image": torch.zeros(1, 2, 2, 2)})

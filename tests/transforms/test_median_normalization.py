"""Median normalization: numbers derived by hand."""

from __future__ import annotations

import pickle

import pytest
import torch

from siamed.transforms import MedianNormalization, MedianNormalizationd
from siamed.transforms.median_normalization import middle_value


def test_each_slice_is_scaled_by_its_own_median():
    image = torch.tensor([[[[10.0, 20, 30, 80]], [[1.0, 2, 3, 5]]]])
    mask = torch.tensor([[[[1, 1, 1, 0]], [[0, 1, 1, 1]]]])
    out = MedianNormalization()(image, mask)
    # Medians 20 and 3: 10 / 40, 20 / 40, 30 / 40, 80 / 40 clipped; 1 / 6, 2 / 6, 3 / 6, 5 / 6
    expected = [[[0.25, 0.5, 0.75, 1.0]], [[1 / 6, 1 / 3, 0.5, 5 / 6]]]
    torch.testing.assert_close(out[0], torch.tensor(expected))


def test_an_even_number_of_pixels_takes_the_mean_of_the_two_in_the_middle():
    assert middle_value(torch.tensor([8.0, 1.0, 4.0, 2.0])).item() == 3.0
    assert middle_value(torch.tensor([5.0, 1.0, 2.0])).item() == 2.0


def test_a_slice_without_reference_takes_the_median_of_all_reference_pixels(caplog):
    image = torch.tensor([[[[10.0, 20, 30]], [[40.0, 80, 90]]]])
    mask = torch.tensor([[[[1, 1, 1]], [[0, 0, 0]]]])
    out = MedianNormalization(clip=None)(image, mask)
    torch.testing.assert_close(out[0, 1, 0], torch.tensor([1.0, 2.0, 2.25]))
    assert "slices [1]" in caplog.text


def test_without_any_reference_the_positive_voxels_serve():
    image = torch.tensor([[[[0.0, 20, 40]], [[0.0, 60, 0]]]])
    out = MedianNormalization(clip=None)(image, torch.zeros(1, 2, 1, 3))
    torch.testing.assert_close(out[0], torch.tensor([[[0.0, 0.25, 0.5]], [[0.0, 0.75, 0.0]]]))


def test_channels_have_their_own_medians():
    image = torch.stack([torch.full((1, 1, 3), 10.0), torch.full((1, 1, 3), 30.0)])
    out = MedianNormalization(median=0.4)(image, torch.ones(1, 1, 1, 3))
    torch.testing.assert_close(out, torch.full((2, 1, 1, 3), 0.4))


def test_dictionary_version_and_pickling_change_nothing():
    image, mask = torch.rand(1, 3, 4, 4) + 0.1, torch.ones(1, 3, 4, 4)
    expected = MedianNormalization()(image, mask)
    normalize = pickle.loads(pickle.dumps(MedianNormalizationd("image", "mask")))
    torch.testing.assert_close(normalize({"image": image, "mask": mask})["image"], expected)


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="median must be above 0, got 0"):
        MedianNormalization(median=0)
    with pytest.raises(ValueError, match="clip must be"):
        MedianNormalization(clip=(1, 0))
    with pytest.raises(ValueError, match=r"mask must have shape \(1, D, H, W\)"):
        MedianNormalization()(torch.ones(1, 2, 3, 3), torch.ones(1, 3, 3))
    with pytest.raises(ValueError, match="must hold a positive intensity"):
        MedianNormalization()(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3))

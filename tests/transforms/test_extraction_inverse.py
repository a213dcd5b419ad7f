"""What was extracted, and what was found in it, comes back to its place in the scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from toy.oriented_scan import (
    GEOMETRIES,
    linear_image,
    make_affine,
    pair,
    world,
)

from siamed.transforms import (
    ExtractDisc,
    ExtractDiscd,
    map_to_scan,
)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_what_was_cut_comes_back_to_its_place(name):
    affine = make_affine(*GEOMETRIES[name])
    image = linear_image(affine)
    extract = ExtractDisc(normalize=False)
    out = extract(image, *pair(affine, 5, tilt_deg=20.0))
    back = extract.inverse(out.clone())
    assert back.shape == image.shape
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)
    reach = np.linalg.inv(np.linalg.inv(affine) @ out.affine.numpy())
    index = world(reach, image.shape[1:])
    margin = 6  # a scan pixel covers up to 3 volume pixels: nearer the rim it mixes with the outside
    inside = (index[..., 1] > margin) & (index[..., 1] < 111 - margin)
    inside &= (index[..., 2] > margin) & (index[..., 2] < 223 - margin)
    inside &= (index[..., 0] > -0.5) & (index[..., 0] < 8.5)
    outside = ((index[..., 1:] < -margin) | (index[..., 1:] > np.array([112, 224]) + margin)).any(-1)
    source_ok = inside.copy()
    source_ok[:, [0, 1, 2, -3, -2, -1]] = False
    source_ok[:, :, [0, 1, 2, -3, -2, -1]] = False
    assert source_ok.sum() > 5000
    np.testing.assert_allclose(back[0].numpy()[source_ok], image[0].numpy()[source_ok], atol=1e-6)
    assert back[0].numpy()[outside].max() == 0


def test_a_mark_on_one_slice_of_the_volume_lands_on_that_slice_of_the_scan():
    affine = make_affine()
    out = ExtractDisc(normalize=False)(linear_image(affine), *pair(affine, 6))
    mark = torch.zeros(2, 9, 112, 224)
    mark[1, 1] = 1.0
    back = map_to_scan(mark, out)
    assert tuple(back.shape) == (2, 11, 160, 160)
    assert back[1].flatten(1).amax(1).nonzero().flatten().tolist() == [3]
    assert back[0].abs().max() == 0
    # 112 x 224 pixels of 2/7 mm cover 32 x 64 mm: 64 x 128 scan pixels
    assert back[1].sum().item() == pytest.approx(64 * 128, rel=0.01)


def test_invertd_goes_back_through_the_orientation_to_the_file_grid():
    lip = make_affine()
    image = linear_image(lip)
    ras = Orientationd("image", axcodes="RAS", labels=None)({"image": image})["image"]
    ras.applied_operations = []
    chain = Compose(
        [
            Orientationd("image", axcodes="LIP", labels=None),
            ExtractDiscd("image", normalize=False),
        ]
    )
    upper, lower = pair(lip, 5)
    data = chain({"image": ras, "upper_corners_mm": upper, "lower_corners_mm": lower})
    data["pred"] = MetaTensor(data["image"].as_tensor().clone())
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(data)["pred"]
    assert back.shape == ras.shape
    np.testing.assert_allclose(back.affine, ras.affine, atol=1e-9)
    found = back[0] != 0
    core = torch.zeros_like(found)
    where = found.nonzero()
    low, high = where.amin(0) + torch.tensor([0, 4, 4]), where.amax(0) - torch.tensor([0, 4, 4])
    core[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1] = True
    assert core.sum() > 50000
    np.testing.assert_allclose(back[0][core], ras[0][core], atol=1e-6)


def test_invertd_with_nearest_keeps_labels_whole():
    affine = make_affine()
    chain = ExtractDiscd("image", normalize=False)
    upper, lower = pair(affine, 5, tilt_deg=13)
    data = chain({"image": linear_image(affine), "upper_corners_mm": upper, "lower_corners_mm": lower})
    label = torch.zeros(1, 9, 112, 224)
    label[..., 40:70, 60:160] = 3
    data["pred"] = MetaTensor(label)
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=True)(data)["pred"]
    assert set(back.unique().tolist()) == {0.0, 3.0}


def test_map_to_scan_refuses_a_volume_that_was_not_extracted():
    with pytest.raises(ValueError, match="must come straight from"):
        map_to_scan(torch.zeros(1, 9, 112, 224), MetaTensor(torch.zeros(1, 9, 112, 224)))


def test_a_map_of_another_size_is_refused():
    affine = make_affine()
    out = ExtractDisc()(linear_image(affine), *pair(affine, 5))
    with pytest.raises(ValueError, match=r"data must have shape \(C, \*\(9, 112, 224\)\)"):
        map_to_scan(torch.zeros(1, 9, 7, 7), out)

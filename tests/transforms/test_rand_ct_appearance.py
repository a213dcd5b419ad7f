"""Images rendered from maps of tissues: Hounsfield units in their ranges, drawn alike by the same seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from siamed.transforms.rand_ct_appearance import (
    INGREDIENTS,
    CTAppearance,
    RandCTAppearanced,
    draw_appearance,
    render_ct,
)
from siamed.transforms.tissues import KIDNEY, PHASES, TISSUES, tissue_number

STILL = {"blur_mm": (0.0, 0.0, 0.0), "noise_hu": 0.0, "grain_mm": 1.0, "streak_hu": 0.0, "seed": 0}


def blocks() -> np.ndarray:
    """Air, fat, liver, cortex and bone, side by side."""
    tissues = np.zeros((6, 8, 20), np.uint8)
    for place, name in enumerate(("subcutaneous fat", "liver", "renal cortex", "cortical bone")):
        tissues[:, :, 4 * (place + 1) : 4 * (place + 2)] = tissue_number(name)
    return tissues


def plain(**changes) -> CTAppearance:
    means = tuple(float(10 * i) for i in range(len(TISSUES)))
    textures = (0.0,) * len(TISSUES)
    return CTAppearance(**{"mean_hu": means, "texture_hu": textures, "texture_mm": 3.0, **STILL, **changes})


def test_without_blur_and_noise_every_voxel_has_its_tissues_mean() -> None:
    tissues = blocks()
    assert np.array_equal(render_ct(tissues, plain(), (3, 3, 3)), 10.0 * tissues)


def test_blur_is_in_millimeters_along_each_axis() -> None:
    tissues = np.zeros((21, 21, 21), np.uint8)
    tissues[10, 10, 10] = 20
    image = render_ct(tissues, plain(blur_mm=(6.0, 2.0, 2.0)), (6.0, 2.0, 1.0))
    # One voxel of sigma along D and H, two along W: variances of the spread in voxels.
    share = image / image.sum()
    for axis, wanted in enumerate((1.0, 1.0, 4.0)):
        profile = share.sum(tuple(a for a in range(3) if a != axis))
        assert float((profile * (np.arange(21) - 10) ** 2).sum()) == pytest.approx(wanted, rel=0.1)


def test_noise_has_its_height_and_streaks_run_from_bone_alone() -> None:
    tissues = np.full((10, 40, 40), tissue_number("liver"), np.uint8)
    noisy = render_ct(tissues, plain(noise_hu=20.0), (3, 3, 3))
    assert float(noisy.std()) == pytest.approx(20, rel=0.01)
    still = render_ct(tissues, plain(streak_hu=50.0), (3, 3, 3))
    assert float(still.std()) == 0.0
    means = [0.0] * len(TISSUES)
    means[tissue_number("cortical bone")] = 1000.0
    tissues[:, 20, 20] = tissue_number("cortical bone")
    streaked = render_ct(tissues, plain(streak_hu=50.0, mean_hu=tuple(means)), (3, 3, 3))
    assert 30 < float(np.delete(streaked, 20, axis=1).max()) <= 50


def test_drawn_means_lie_in_the_ranges_of_one_phase() -> None:
    rng = np.random.RandomState(0)
    seen = set()
    for _ in range(40):
        drawn = draw_appearance(rng)
        fits = [
            phase
            for phase in PHASES
            if all(
                t.range_hu(phase)[0] <= m <= t.range_hu(phase)[1]
                for t, m in zip(TISSUES, drawn.mean_hu, strict=True)
            )
        ]
        assert fits
        seen.update(fits)
    assert seen == set(PHASES)
    means = draw_appearance(rng, varied=0.0).mean_hu
    assert means[tissue_number("muscle")] == pytest.approx(55)


@pytest.mark.parametrize("left_out", INGREDIENTS)
def test_an_ingredient_can_be_left_out_and_the_others_stay_as_drawn(left_out: str) -> None:
    fields = {
        "texture": "texture_hu",
        "partial_volume": "blur_mm",
        "noise": "noise_hu",
        "streaks": "streak_hu",
    }
    for seed in range(12):  # streaks are seldom
        drawn, less = (
            draw_appearance(np.random.RandomState(seed), without=without) for without in ((), (left_out,))
        )
        differing = {
            f.name for f in dataclasses.fields(drawn) if getattr(drawn, f.name) != getattr(less, f.name)
        }
        assert differing <= {fields[left_out]}
        assert not np.any(getattr(less, fields[left_out]))
        if left_out != "streaks":
            assert differing
    transform = RandCTAppearanced("tissues", without=[left_out])
    assert transform.without == (left_out,)
    with pytest.raises(ValueError, match=r"without must name some of \['texture', .*, got \['kernel'\]"):
        RandCTAppearanced("tissues", without=["kernel"])


def test_the_transform_gives_image_and_mask_and_draws_alike_by_the_same_seed() -> None:
    tissues = MetaTensor(torch.from_numpy(blocks())[None], affine=torch.diag(torch.tensor([3.0, 3, 3, 1])))
    transform = RandCTAppearanced("tissues").set_random_state(seed=1)
    one = transform({"tissues": tissues})
    assert np.array_equal(np.asarray(one["label"][0]), np.isin(blocks(), KIDNEY))
    assert -1024 <= float(one["image"].min())
    assert torch.equal(one["tissues"], tissues)
    assert torch.equal(one["image"].affine, tissues.affine)
    again = transform.set_random_state(seed=1)({"tissues": tissues})
    assert torch.equal(again["image"], one["image"])
    assert not torch.equal(transform({"tissues": tissues})["image"], one["image"])
    with pytest.raises(ValueError, match=r"tissues must be a MetaTensor \(1, D, H, W\), got Tensor"):
        transform({"tissues": torch.zeros(1, 2, 2, 2)})
    with pytest.raises(ValueError, match="name must be one of .*, got 'brain'"):
        tissue_number("brain")

"""From a view to a named column in mm, with a network that knows the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from toy.detection_oracle import SACRAL, WHOLE, Oracle, column_corners

from siamed.pipeline.detection.detector import VertebraDetector

SIZE = (224, 160)


def lip_affine(slice_mm: float = 4.0, pixel_mm: float = 1.0, oblique_deg: float = 0.0) -> np.ndarray:
    """Slices to the left, rows to inferior, columns to posterior, turned about the vertical axis."""
    turn = np.deg2rad(oblique_deg)
    left, posterior = np.array([-np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), -np.cos(turn), 0])
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(
        [slice_mm * left, pixel_mm * np.array([0, 0, -1.0]), pixel_mm * posterior]
    )
    affine[:3, 3] = [20.0, 90.0, 100.0]
    return affine


def detect(
    slices: list[tuple[np.ndarray, list[int]]], affine: np.ndarray | None = None, size: tuple[int, int] = SIZE
):
    detector = VertebraDetector(Oracle(slices), view_spacing_mm=1.0, percentile=99.0, zooms=(1.0,))
    image = MetaTensor(
        torch.rand(1, len(slices), *size), affine=torch.from_numpy(lip_affine() if affine is None else affine)
    )
    return detector(image)


def lumbar(count: int = 5) -> tuple[np.ndarray, list[int]]:
    return column_corners(count), [WHOLE] * (count - 1) + [SACRAL]


@pytest.mark.parametrize("oblique_deg", [0.0, 15.0])
def test_corners_are_where_the_affine_puts_them(oblique_deg: float) -> None:
    affine = lip_affine(oblique_deg=oblique_deg)
    column = detect([lumbar()] * 5, affine)
    assert [v.level for v in column.vertebrae] == ["L2", "L3", "L4", "L5", "S1"]
    quad = column_corners()[0]
    voxels = np.column_stack([np.full(4, 2.0), quad])
    np.testing.assert_allclose(
        column.vertebrae[0].corners_mm, voxels @ affine[:3, :3].T + affine[:3, 3], atol=0.3
    )


def test_left_is_left() -> None:
    """Bodies are seen in the slices towards the patient's left alone: their mm must say so."""
    empty: tuple[np.ndarray, list[int]] = (np.zeros((0, 4, 2)), [])
    column = detect([empty] * 6 + [lumbar()] * 5)
    assert column.vertebrae[0].slices == (6, 10)
    assert column.vertebrae[0].center_mm[0] == pytest.approx(20.0 - 4.0 * 8)


def test_one_slice_is_enough() -> None:
    column = detect([lumbar()])
    assert [d.level for d in column.discs] == ["L2-L3", "L3-L4", "L4-L5", "L5-S1"]


def test_no_disc_is_cut_across_a_missed_body() -> None:
    corners, kinds = lumbar(5)
    column = detect([(np.delete(corners, 2, axis=0), kinds[1:])] * 5)
    assert [d.level for d in column.discs] == ["L2-L3", "L5-S1"]
    assert any("no disc is cut" in w for w in column.warnings)


def test_a_body_cut_by_the_edge_is_partial() -> None:
    corners, kinds = lumbar(5)
    column = detect([(corners - (38.0, 0.0), kinds)] * 5)
    assert [v.partial for v in column.vertebrae] == [True, False, False, False, False]


def test_s2_ends_the_column() -> None:
    column = detect([(column_corners(5), [WHOLE] * 3 + [SACRAL] * 2)] * 5)
    assert [v.level for v in column.vertebrae] == ["L3", "L4", "L5", "S1"]


def test_the_spacing_of_the_input_does_not_matter() -> None:
    column = detect([lumbar()] * 3, lip_affine(pixel_mm=0.5), size=(448, 320))
    quad_mm = column_corners()[1]  # the view has 1 mm pixels: view pixels are mm
    expected = 100.0 - quad_mm[:, 0]
    np.testing.assert_allclose(column.vertebrae[1].corners_mm[:, 2], expected, atol=0.6)


def test_an_empty_scan_says_so() -> None:
    column = detect([(np.zeros((0, 4, 2)), [])] * 3)
    assert column.vertebrae == ()
    assert "No vertebra" in column.warnings[0]


def test_an_image_without_affine_is_refused() -> None:
    detector = VertebraDetector(Oracle([lumbar()]), 1.0, 99.0)
    with pytest.raises(ValueError, match="image must be a MetaTensor"):
        detector(torch.rand(1, 3, 64, 64))

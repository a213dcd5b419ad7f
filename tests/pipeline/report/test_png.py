"""Pictures: another decoder reads back the very pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from siamed.pipeline.report.png import data_uri, encode_heat, encode_png


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (112, 224)])
def test_another_decoder_reads_the_same_pixels(shape: tuple[int, int]) -> None:
    import matplotlib.image

    gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = matplotlib.image.imread(io.BytesIO(encode_png(gray)), format="png")
    np.testing.assert_array_equal(np.round(read * 255).astype(np.uint8), gray)


def test_the_uri_holds_the_picture() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    kind, packed = data_uri(gray).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(packed) == encode_png(gray)


@pytest.mark.parametrize(
    "gray", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_what_is_no_gray_picture_is_refused(gray: np.ndarray) -> None:
    with pytest.raises(ValueError, match="picture must be"):
        encode_png(gray)


def test_an_overlay_is_clear_where_there_is_nothing_and_yellow_at_its_maximum() -> None:
    import matplotlib.image

    heat = np.array([[0, 128, 255]], np.uint8)
    read = matplotlib.image.imread(io.BytesIO(encode_heat(heat)), format="png")[0]
    assert read[0, 3] == 0
    assert read[2, 3] > 0.8
    assert read[2, 1] > 0.9 > read[1, 1]
    assert (read[:, 0] == 1).all()
    assert (read[:, 2] == 0).all()

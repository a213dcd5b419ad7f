"""Gray pictures and heat overlays as PNG, written with the standard library alone.

A report needs nothing else of an imaging library, and importing one costs more than this takes [D-0047].
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["data_uri", "encode_heat", "encode_png", "heat_uri"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY_8_BIT = (8, 0, 0, 0, 0)  # bit depth, color type, compression, filter method, interlace
_PALETTE_8_BIT = (8, 3, 0, 0, 0)
_FILTER_UP = 2  # each row as its difference from the row above: anatomy is smooth, and packs well so
_LEVEL = 6


def encode_png(gray: np.ndarray) -> bytes:
    """Encode a gray picture, without loss.

    Args:
        gray: ``(rows, columns)`` uint8.

    Raises:
        ValueError: for another type or shape.
    """
    return _encode(gray, _GRAY_8_BIT)


def encode_heat(heat: np.ndarray) -> bytes:
    """Encode an overlay: 0 is transparent, more is red, then orange, 255 a nearly opaque yellow.

    Args:
        heat: ``(rows, columns)`` uint8.

    Raises:
        ValueError: for another type or shape.
    """
    steps = np.arange(256)
    colors = np.stack([np.full(256, 255), np.clip(1.2 * steps - 50, 0, 235), np.zeros(256)], 1)
    opacity = 217 * (steps / 255) ** 1.5
    palette = _chunk(b"PLTE", colors.astype(np.uint8).tobytes())
    return _encode(heat, _PALETTE_8_BIT, palette + _chunk(b"tRNS", opacity.astype(np.uint8).tobytes()))


def heat_uri(heat: np.ndarray) -> str:
    """Return an overlay as a ``data:image/png`` URI; arguments and errors as :func:`encode_heat`."""
    return _uri(encode_heat(heat))


def _encode(picture: np.ndarray, kind: tuple[int, ...], between: bytes = b"") -> bytes:
    if picture.dtype != np.uint8 or picture.ndim != 2 or 0 in picture.shape:
        raise ValueError(f"picture must be (rows, columns) uint8, got {picture.dtype} of {picture.shape}")
    rows, columns = picture.shape
    above = np.vstack([np.zeros((1, columns), np.uint8), picture[:-1]])
    lines = np.empty((rows, columns + 1), np.uint8)
    lines[:, 0] = _FILTER_UP
    lines[:, 1:] = picture - above  # modulo 256, as the filter wants it
    header = struct.pack(">IIBBBBB", columns, rows, *kind)
    packed = zlib.compress(lines.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + between + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def data_uri(gray: np.ndarray) -> str:
    """Return a gray picture as a ``data:image/png`` URI; arguments and errors as :func:`encode_png`."""
    return _uri(encode_png(gray))


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

"""Gray pictures as PNG, written with the standard library alone.

A report needs nothing else of an imaging library, and importing one costs more than this takes [D-0047].
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["data_uri", "encode_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY_8_BIT = (8, 0, 0, 0, 0)  # bit depth, color type, compression, filter method, interlace
_FILTER_UP = 2  # each row as its difference from the row above: anatomy is smooth, and packs well so
_LEVEL = 6


def encode_png(gray: np.ndarray) -> bytes:
    """Encode a gray picture, without loss.

    Args:
        gray: ``(rows, columns)`` uint8.

    Raises:
        ValueError: for another type or shape.
    """
    if gray.dtype != np.uint8 or gray.ndim != 2 or 0 in gray.shape:
        raise ValueError(f"gray must be (rows, columns) uint8, got {gray.dtype} of shape {gray.shape}")
    rows, columns = gray.shape
    above = np.vstack([np.zeros((1, columns), np.uint8), gray[:-1]])
    lines = np.empty((rows, columns + 1), np.uint8)
    lines[:, 0] = _FILTER_UP
    lines[:, 1:] = gray - above  # modulo 256, as the filter wants it
    header = struct.pack(">IIBBBBB", columns, rows, *_GRAY_8_BIT)
    packed = zlib.compress(lines.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def data_uri(gray: np.ndarray) -> str:
    """Return a gray picture as a ``data:image/png`` URI; arguments and errors as :func:`encode_png`."""
    return "data:image/png;base64," + base64.b64encode(encode_png(gray)).decode("ascii")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

"""MONAI transforms and the geometry under them, array class and dictionary class (`...d`) in one file.

This room imports neither `siamed.networks` nor `siamed.pipeline`.

The public names are loaded when first asked for, so that importing one small module of this room does not
import all of them.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "ExtractDisc": "extract_disc",
    "ExtractDiscd": "extract_disc",
    "ExtractVertebralBody": "extract_vertebral_body",
    "ExtractVertebralBodyd": "extract_vertebral_body",
    "MedianNormalization": "median_normalization",
    "MedianNormalizationd": "median_normalization",
    "map_to_scan": "extract_volume",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

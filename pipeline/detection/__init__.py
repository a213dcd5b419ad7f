"""Find, link and name vertebral bodies in sagittal MR."""

from __future__ import annotations

from typing import Any

__all__ = ["Column", "Disc", "Vertebra", "VertebraDetector"]


def __getattr__(name: str) -> Any:
    if name == "VertebraDetector":
        from .detector import VertebraDetector

        return VertebraDetector
    if name in ("Column", "Disc", "Vertebra"):
        from . import vertebra

        return getattr(vertebra, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

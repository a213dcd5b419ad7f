"""Bundles of another place than this package: read only if their configurations cannot run code [D-0078]."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.resources import files
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["TRUST", "check_file", "check_hparams", "is_foreign", "shipped_dir", "trusting"]

TRUST = "SIAMED_TRUST"  # "1" lets bundles of any place name any code
_TRUSTED: ContextVar[Path | None] = ContextVar("trusted", default=None)


def shipped_dir() -> Path:
    """Where the bundles of this package are."""
    return Path(str(files("siamed.bundles")))


def is_foreign(root: Path) -> bool:
    """Whether a bundle is of another place, and nobody trusts it.

    Args:
        root: the bundle's resolved folder.
    """
    trusted = os.environ.get(TRUST) == "1" or root == _TRUSTED.get()
    return not root.is_relative_to(shipped_dir().resolve()) and not trusted


@contextmanager
def trusting(root: Path | None) -> Iterator[None]:
    """Take a bundle as it is while something of it is built: one configuration may ask for another one."""
    before = _TRUSTED.set(root)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def check_file(root: Path, file: Path) -> None:
    """Refuse a foreign bundle's configuration that could run code, or is not the one that was published.

    Args:
        root: the bundle's resolved folder.
        file: the configuration.

    Raises:
        ValueError: if it could.
    """
    if not is_foreign(root):
        return
    # Not before: these read bundles themselves.
    from .config_safety import config_faults
    from .contents import SUMS, sums_faults

    faults = [f"{file.name}: {fault}" for fault in config_faults(ConfigParser.load_config_file(str(file)))]
    if (root / SUMS).is_file():
        faults += sums_faults(root)
    _refuse(root, faults)


def check_hparams(root: Path, hparams: Mapping[str, Any]) -> None:
    """Refuse a foreign bundle's hyper-parameters that could run code.

    Args:
        root: the bundle's resolved folder.
        hparams: the block, not yet instantiated.

    Raises:
        ValueError: if it could.
    """
    from .config_safety import config_faults

    _refuse(root, config_faults({"hparams": hparams}))


def _refuse(root: Path, faults: list[str]) -> None:
    if faults:
        raise ValueError(
            f"bundle must name nothing that could run code, {root.name} is refused: {'; '.join(faults[:5])}. "
            f"If you know where it comes from, --trust (or {TRUST}=1) takes it as it is."
        )

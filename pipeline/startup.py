"""MONAI loaded without the libraries that reading a scan has no use for.

`import monai` loads whatever optional library it finds installed: mlflow, ignite, pandas, matplotlib and
others, for handlers and readers that no command here uses. That costs more than half of the time to the first
scan [D-0049].
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["UNUSED_BY_COMMANDS", "import_monai_lean"]

UNUSED_BY_COMMANDS = (
    "ignite",
    "itk",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyarrow",
    "skimage",
    "sklearn",
    "tensorboard",
    "torchvision",
    "transformers",
)
"""Optional to MONAI. The program itself may import them afterwards: itk reads MetaImage."""


def import_monai_lean() -> None:
    """Import MONAI as if its heavy optional libraries were not installed; they can be imported afterwards.

    Only for a process that runs a command and nothing else: in it MONAI's own handlers for ignite and mlflow,
    and its readers and figures, stay unavailable. Where MONAI is loaded already nothing happens.
    """
    if "monai" not in sys.modules:
        with _absent(UNUSED_BY_COMMANDS):
            importlib.import_module("monai")


@contextmanager
def _absent(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of these packages fail, as Python does for a None in ``sys.modules``."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)

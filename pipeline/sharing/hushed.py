"""Exporting and inference without what the libraries say about themselves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["hushed"]

# What these say is no concern of a user: torchvision is missing, no file to log to, a run ended on purpose.
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "monai.bundle.workflows", "ignite")
_WARNINGS = (
    (".*torch.jit.*", DeprecationWarning),
    (".*LeafSpec.*", FutureWarning),
    # Of weights that are stored channels last: they are whole.
    ("No complete tensor found in the group", UserWarning),
)


@contextmanager
def hushed() -> Iterator[None]:
    """No log messages and no warnings of the libraries about themselves."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            for message, category in _WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""Where a bundle's weights come from: its training, the pretraining before that, and the data of each, by
hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import read_json

__all__ = ["Link", "lineage", "lineage_text"]

_SHOWN = ("command", "commit", "dirty", "device", "seed", "epochs", "fold_left_out")


Link = dict[str, Any]
"""One training of a chain: ``what``, ``name``, and what is known of it by name, hashes among it."""


def lineage(bundle: str | Path) -> list[Link]:
    """The chain of trainings behind a bundle, the bundle first.

    Args:
        bundle: name, ``NAME@VERSION``, or folder.

    Returns:
        The bundle, its training, what that was pretrained from, and so on; each with the hashes that its
        metadata has.

    Raises:
        ValueError: if there is no such bundle.
    """
    root = bundle_path(bundle)
    metadata = read_json(root / "configs" / "metadata.json")
    chain = [
        Link(
            what="bundle",
            name=f"{root.name}@{metadata['version']}",
            weights_sha256=metadata["weights_sha256"],
        )
    ]
    training: Mapping[str, Any] | None = metadata.get("training")
    what = "training"
    while training:
        chain.append(_link(what, training))
        what, training = "pretraining", training.get("pretraining")
    return chain


def _link(what: str, training: Mapping[str, Any]) -> Link:
    name = training.get("run", "a run that left no name")
    if "bundle" in training:
        name = f"{name} ({training['bundle']}@{training['version']})"
    link = Link(what=what, name=name)
    link |= {key: training[key] for key in _SHOWN if key in training}
    link |= dict(_hashes({key: value for key, value in training.items() if key != "pretraining"}))
    if isinstance(training.get("data"), str):
        link["data"] = training["data"]
    return link


def _hashes(node: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _hashes(value, f"{before}{key} ")
        elif key.endswith("sha256"):
            yield f"{before}{key}", str(value)


def lineage_text(chain: list[Link]) -> str:
    """The chain as lines for people: each link under what it was made into."""
    lines = []
    for depth, link in enumerate(chain):
        space = "   " * depth
        lines.append(f"{space}{'└─ ' if depth else ''}{link['what']} {link['name']}")
        lines += [
            f"{space}{'   ' if depth else ''}     {key}: {value}"
            for key, value in link.items()
            if key not in ("what", "name")
        ]
    return "\n".join(lines) + "\n"

"""What a bundle says of itself: the model card and the bill of software, both filled from its metadata.

The card is put into ``docs/README.md`` where a bundle is built, before its first section: what somebody must
know before they use the weights, in one place and in the same words for all bundles. What a person wrote
(limits, differences from the paper, what went wrong) follows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

__all__ = [
    "SECTIONS",
    "figure_rows",
    "missing_figures",
    "missing_sections",
    "model_card",
    "software_bill",
    "without_card",
]

SECTIONS = ("Data", "Limits", "Differences from the paper")
_HEADING = "## Model card"
_TEMPLATE = """\
{{ heading }}

| | |
|---|---|
| bundle | {{ bundle }} {{ version }} |
| task | {{ task }} |
| intended use | {{ intended_use }} |
| not for | {{ not_for }} |
| data | {{ data_source }} |
{% for what, text in training -%}
| {{ what }} | {{ text }} |
{% endfor -%}
| weights | `models/model.pt`, SHA-256 `{{ weights_sha256 }}` |
| license | code {{ license.code }}, weights {{ license.weights }} |
| needs | {{ needs }} |

{% if figures -%}
{{ protocol }}. Recompute with `{{ command }}`.

| figure | value |
|---|---|
{% for name, value in figures -%}
| {{ name }} | {{ value }} |
{% endfor %}
{% else -%}
The figures below are those of the weights that this bundle was trained from or is named after, not of these
weights.

{% endif %}"""


def model_card(bundle: str, metadata: Mapping[str, Any], readme: str) -> str:
    """The text of ``docs/README.md`` with the model card in it; links to what lies outside the bundle's
    folder, which would be dead where it is shared, become plain text.

    Args:
        bundle: its name.
        metadata: content of ``configs/metadata.json``.
        readme: the text without a card.

    Raises:
        jinja2.UndefinedError: if the metadata lacks what the card must say.
    """
    figures = metadata.get("figures", {})
    card = Environment(undefined=StrictUndefined, autoescape=False).from_string(_TEMPLATE)
    text = card.render(
        {
            **metadata,
            "heading": _HEADING,
            "bundle": bundle,
            "training": list(_said(metadata.get("training", {}))),
            "needs": ", ".join(f"{name} {version}" for name, version in _packages(metadata).items()),
            "figures": list(figure_rows(figures)),
            "protocol": _capital(figures.get("protocol", "")),
            "command": figures.get("command", ""),
        }
    )
    alone = _LINK_OUTSIDE.sub(r"\1", without_card(readme))
    before, section, after = alone.partition("\n## ")
    return f"{before.rstrip()}\n\n{text.rstrip()}\n{section}{after}"


def without_card(readme: str) -> str:
    """The text as it was before :func:`model_card`."""
    return re.sub(rf"(?ms)^{_HEADING}$.*?(?=^## |\Z)", "", readme)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _said(training: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in training.items():
        what = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _said(value, f"{what}: ")
        elif value is not None:
            text = json.dumps(value) if isinstance(value, (list, bool)) else str(value)
            yield what if before else f"training: {what}", text.replace("|", "\\|")


def figure_rows(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of the figures of a metadata file; ``NAME_interval`` stands behind NAME in
    brackets."""
    for key, value in figures.items():
        name = f"{before}{key.replace('_', ' ')}"
        interval = figures.get(f"{key}_interval")
        if isinstance(value, Mapping):
            if not key.endswith("_interval"):
                within = {f"{k}_interval": v for k, v in (interval or {}).items()}
                yield from figure_rows({**value, **within}, f"{name}: ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, f"{value}" + (f" ({interval[0]} to {interval[1]})" if interval else "")


_LINK_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./){2}[^)]*\)")  # from docs/, two folders up
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def missing_figures(figures: Mapping[str, Any], readme: str) -> list[str]:
    """Figures of the metadata that the README does not have: as a number or in percent, as exact or rounded.

    Args:
        figures: of the metadata.
        readme: the text without the card, which would agree by itself.
    """
    told = set(_NUMBER.findall(readme.replace(",", "")))
    missing = []
    for name, text in figure_rows(figures):
        for number in _NUMBER.findall(text):
            value = float(number)
            ways = {
                f"{value * by:.{digits}f}" for by in (1, 100) for digits in range(1 if by == 100 else 2, 5)
            }
            if value == int(value):
                ways |= {str(int(value)), number}
            if not ways & told:
                missing.append(f"{name} is {number} in the metadata and not in docs/README.md")
    return missing


def missing_sections(readme: str) -> list[str]:
    """Sections that every bundle's README has and this one lacks."""
    return [name for name in SECTIONS if not re.search(rf"^## {name}s?$", readme, re.MULTILINE)]


def _packages(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
        **metadata["required_packages_version"],
    }


def software_bill(bundle: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of software in CycloneDX's form (1.5): the model with its hash, and the packages it needs."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "name": bundle,
                "version": metadata["version"],
                "licenses": [{"license": {"name": metadata["license"]["weights"]}}],
                "hashes": [{"alg": "SHA-256", "content": metadata["weights_sha256"]}],
            }
        },
        "components": [
            {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
            for name, version in _packages(metadata).items()
        ],
    }

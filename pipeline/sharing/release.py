"""A bundle made ready for other people: one zip with JSON twins, hashes, a bill of software and a model card.

The same folder gives the same bytes, wherever it lies and whenever it is built [D-0077].
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from siamed.pipeline.build_bundle import write_json_twins
from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.files import read_json, write_json

from .archive import pack
from .card import model_card, software_bill
from .contents import SUMS, bundle_files, write_sums
from .verify import Report, Unsound, verify_bundle

__all__ = ["BILL", "build_release", "release_name"]

BILL = "docs/software.cdx.json"


def release_name(bundle: str, version: str) -> str:
    """The name of a bundle's zip: ``NAME_vVERSION.zip``, as MONAI's release pages have it."""
    return f"{bundle}_v{version}.zip"


def build_release(
    bundle: str | Path,
    out: str | Path,
    export: Callable[[Path, Path], Mapping[str, Any]] | None = None,
) -> tuple[Path, Report]:
    """Build the zip of a bundle, and check it.

    Args:
        bundle: name of a shipped bundle, or a bundle's folder.
        out: folder of the zip.
        export: writes further forms of the network, given the bundle and the folder for them, and says what
        they
            are; goes into the metadata as ``exports``.

    Returns:
        The zip, and the report of its check.

    Raises:
        Unsound: if metadata, version, changelog, weights' hash, figures or anything else is refused; an
        earlier
            zip of that name stays as it was.
        ValueError: if there is no such bundle.
    """
    source, out = bundle_path(bundle), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".build_") as beside:
        stage = Path(beside) / source.name
        _copy(source, stage)
        write_json_twins(stage)
        metadata = read_json(stage / "configs" / "metadata.json")
        if not isinstance(metadata, dict):
            raise Unsound(f"{source.name} is refused: configs/metadata.json is missing")
        if export is not None:
            metadata["exports"] = dict(export(stage, stage / "models"))
            write_json(stage / "configs" / "metadata.json", metadata)
        _document(stage, metadata)
        write_sums(stage)
        report = verify_bundle(stage, summed=True)
        report.raise_if_unsound()
        return pack(stage, out / release_name(source.name, metadata["version"])), report


def _copy(source: Path, stage: Path) -> None:
    for name in bundle_files(source):
        if name in (SUMS, BILL):
            continue  # made here
        if (source / name).is_symlink():
            raise Unsound(f"{source.name} is refused: {name} is a link")
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, stage / name)


def _document(stage: Path, metadata: Mapping[str, Any]) -> None:
    readme = stage / "docs" / "README.md"
    try:
        text = model_card(stage.name, metadata, readme.read_text(encoding="utf-8"))
        bill = json.dumps(software_bill(stage.name, metadata), indent=2) + "\n"
    except (KeyError, OSError, UndefinedError):
        return  # what is missing is told by the check, in one list with the other faults
    readme.write_text(text, encoding="utf-8")
    (stage / BILL).write_text(bill, encoding="utf-8")

"""Zips and ``index.json`` as a folder of plain files: what a web server, an object store, a GitHub release or
a Hugging Face repository serves as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from siamed.pipeline.experiments.files import replace_file, sha256_of

from .download import fetch_text
from .index import INDEX, Entry, merge, read_index, write_index
from .release import build_release
from .sources import Source

__all__ = ["publish", "upload"]


def publish(
    bundles: Sequence[str | Path], out: str | Path, tell: Callable[[str, float, int], None] | None = None
) -> list[Entry]:
    """Build bundles into a folder and write its index; other bundles and versions that are there stay.

    Args:
        bundles: names or folders.
        out: the folder to be served: ``NAME_vVERSION.zip``, its ``.sha256`` and ``index.json``.
        tell: called with what is done, how far, and of how much.

    Returns:
        The entries of the index.

    Raises:
        Unsound: if the check refuses a bundle; those before it are published.
        ValueError: if a version was published with other bytes: what people have downloaded must stay what it
        was.
    """
    out, tell = Path(out), tell or (lambda what, done, total: None)
    entries = read_index((out / INDEX).read_text("utf-8"), "") if (out / INDEX).is_file() else []
    for number, bundle in enumerate(bundles):
        tell(f"building {Path(bundle).name}", number, len(bundles))
        beside = out / ".publishing"
        try:
            built, report = build_release(bundle, beside)
            digest = sha256_of(built)
            new = Entry(report.bundle, report.version, built.name, digest, built.stat().st_size)
            entries = merge(entries, new)
            built.replace(out / built.name)
        finally:
            _remove(beside)
        _write_hash(out / f"{new.url}.sha256", digest, new.url)
        write_index(entries, out)
    return entries


def _write_hash(file: Path, digest: str, name: str) -> None:
    replace_file(file, lambda beside: beside.write_text(f"{digest}  {name}\n", encoding="utf-8"))


def _remove(folder: Path) -> None:
    for file in folder.glob("*"):
        file.unlink()
    if folder.is_dir():
        folder.rmdir()


def upload(folder: str | Path, repository: str) -> str:
    """Put a published folder into a Hugging Face repository, made where it is missing; what the repository's
    index names besides stays there.

    Args:
        folder: as :func:`publish` leaves it.
        repository: ``OWNER/NAME``; ``$HF_ENDPOINT`` names another server.

    Returns:
        The address of the commit.

    Raises:
        ValueError: if the folder has no index, or the repository has one of its versions with other bytes.
        huggingface_hub.errors.HfHubHTTPError: if the server refuses, as it does where somebody else published
            in the meantime.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise ValueError(f"folder must be one that was published, {folder} has no {INDEX}")
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    found = api.model_info(repository)
    entries: list[Entry] = []
    if INDEX in {file.rfilename for file in found.siblings or ()}:
        source = Source(huggingface=repository)
        entries = read_index(fetch_text(source.index_address(), source.headers()), "")
    for entry in read_index((folder / INDEX).read_text("utf-8"), ""):
        entries = merge(entries, entry)
    files = sorted([*folder.glob("*.zip"), *folder.glob("*.zip.sha256")])
    with TemporaryDirectory() as beside:
        files.append(write_index(entries, Path(beside)))
        done = api.create_commit(
            repository,
            [CommitOperationAdd(file.name, file) for file in files],
            commit_message="Publish bundles",
            parent_commit=found.sha,
        )
    return str(done.commit_url)

"""``siamed bundle build | verify | get | publish | register | lineage``: bundles on their way to other
people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import open_console, progress, warm_up
from .options import Debug, Quiet

if TYPE_CHECKING:
    from rich.console import Console

    from siamed.pipeline.sharing.download import Tell
    from siamed.pipeline.sharing.verify import Report

__all__ = ["bundle"]

bundle = typer.Typer(
    help="Build, check, get and publish bundles.", no_args_is_help=True, pretty_exceptions_enable=False
)

Name = Annotated[str, typer.Argument(help="Name of a bundle, or its folder.", show_default=False)]


class Export(str, Enum):
    """Forms of a network beside its weights."""

    pt2 = "pt2"
    onnx = "onnx"
    ts = "ts"


@bundle.command()
def build(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the zip.")] = Path("dist"),
    export: Annotated[
        list[Export] | None,
        typer.Option(help="Put the network in as torch.export (pt2), ONNX or TorchScript (ts) too."),
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            help="Data as the bundle's inference takes it: exports are checked on it.", show_default=False
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Build NAME_vVERSION.zip, the same bytes from the same folder; what contradicts itself is refused."""
    # Exports run the bundle's inference, which needs MONAI whole.
    with _working(quiet, debug, lean=not export) as (console, show):
        from siamed.pipeline.sharing.release import build_release

        show("building", 0, 0)
        write = None
        if export:
            if dataset_dir is None:
                raise typer.BadParameter("must be given with --export", param_hint="--dataset-dir")
            from siamed.pipeline.sharing.captured_inputs import captured_inputs
            from siamed.pipeline.sharing.exports import export_bundle

            inputs = captured_inputs(name, dataset_dir)
            forms = [form.value for form in export]

            def write(root: Path, models: Path) -> dict[str, dict]:
                return export_bundle(root, models, forms, inputs)

        built, report = build_release(name, out, write)
    _show_report(console, report)
    typer.echo(str(built))


@bundle.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A bundle's folder or zip.", show_default=False)],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a bundle without running it: files, hashes, metadata, what its configurations name, weights."""
    with _working(quiet, debug) as (console, show):
        from siamed.pipeline.sharing.verify import verify_bundle

        show("checking", 0, 0)
        report = verify_bundle(path)
    _show_report(console, report)
    if not report.is_sound:
        raise typer.Exit(1)


@bundle.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", show_default=False)],
    index: Annotated[
        str | None,
        typer.Option(help="Address or path of an index.json; else $SIAMED_BUNDLE_INDEX.", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of a zip.", show_default=False)] = None,
    github: Annotated[
        str | None, typer.Option(help="Release: OWNER/REPOSITORY/TAG.", show_default=False)
    ] = None,
    huggingface: Annotated[
        str | None, typer.Option(help="Repository: OWNER/NAME.", show_default=False)
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(help="Hash of the zip at --url, where URL.sha256 is missing.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Where bundles are kept; else $SIAMED_BUNDLES, else MONAI's own folder.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download a bundle, check its hash and what is in it, and put it in place. Broken downloads go on."""
    with _working(quiet, debug) as (console, show):
        from siamed.pipeline.sharing.install import get_bundle
        from siamed.pipeline.sharing.sources import Source

        got = get_bundle(name, Source(url, github, huggingface, index, sha256), folder, show)
    if not got.changed:
        said = f"{got.folder.name} {got.version} is there already"
    elif got.before is None or got.before == got.version:
        said = f"{got.folder.name} {got.version}"
    else:
        said = f"{got.folder.name} {got.version}, was {got.before}"
    console.print(said, markup=False, soft_wrap=True)
    typer.echo(str(got.folder))


@bundle.command()
def publish(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to be served.", show_default=False)],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names or folders of bundles; else all that siamed ships.", show_default=False),
    ] = None,
    huggingface: Annotated[
        str | None,
        typer.Option(help="Put the folder into this repository, OWNER/NAME, too.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Build bundles and index.json into a folder that any web server can serve; published versions stay."""
    with _working(quiet, debug) as (console, show):
        from siamed.pipeline.bundles import shipped_bundles
        from siamed.pipeline.sharing.publish import publish as write_site
        from siamed.pipeline.sharing.publish import upload

        entries = write_site(names or shipped_bundles(), out, show)
        if huggingface is not None:
            show(f"uploading to {huggingface}", 0, 0)
            console.print(upload(out, huggingface), markup=False, soft_wrap=True)
    for entry in entries:
        typer.echo(f"{entry.sha256}  {entry.url}")


@bundle.command()
def register(
    output_dir: Annotated[Path, typer.Argument(help="Folder of a finished training.", show_default=False)],
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store; else the one of the training.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Register the bundle of a training in the MLflow Model Registry, ready for `mlflow models serve`."""
    with _working(quiet, debug, lean=False) as (console, show):
        from siamed.pipeline.sharing.register import register_run

        show("registering", 0, 0)
        done = register_run(output_dir, tracking_uri)
    console.print(f"In {done.tracking_uri}", markup=False, soft_wrap=True)
    typer.echo(done.model_uri)


@bundle.command()
def lineage(name: Name) -> None:
    """Show what a bundle's weights come from: trainings and data, with their hashes."""
    warm_up()
    with _refusals():
        from siamed.pipeline.sharing.lineage import lineage as chain_of
        from siamed.pipeline.sharing.lineage import lineage_text

        typer.echo(lineage_text(chain_of(name)), nl=False)


@contextmanager
def _working(quiet: bool, debug: bool, lean: bool = True) -> Iterator[tuple[Console, Tell]]:
    """Console and progress of a command, errors as :func:`_refusals` ends them."""
    console = open_console(quiet, debug)
    if lean:
        warm_up()
    with _refusals(), progress(console) as show:
        yield console, show


@contextmanager
def _refusals() -> Iterator[None]:
    """A wrong argument ends with 2, a refused bundle or a broken download with 1, each with its reason."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        from siamed.pipeline.sharing.download import DownloadError
        from siamed.pipeline.sharing.verify import Unsound

        if not isinstance(error, (Unsound, DownloadError, OSError)):
            raise typer.BadParameter(str(error)) from error
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _show_report(console: Console, report: Report) -> None:
    title = f"{report.bundle} {report.version}".strip() or "bundle"
    console.print(title, style="bold", markup=False)
    for check in report.checks:
        if not check.faults:
            state, style = ("left out", "yellow") if check.note.startswith("not ") else ("good", "green")
            console.print(
                f"  {check.name:<15}{state}  {check.note}", style=style, markup=False, soft_wrap=True
            )
        for fault in check.faults:
            console.print(f"  {check.name:<15}FAULT  {fault}", style="red", markup=False, soft_wrap=True)

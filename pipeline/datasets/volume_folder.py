"""A folder of volumes as items for a MONAI data set."""

from __future__ import annotations

from pathlib import Path

__all__ = ["volume_items"]


def volume_items(folder: str | Path) -> list[dict[str, str]]:
    """One item a NIfTI file of a folder and the folders below it: ``image`` and ``name``. Names that begin
    with a dot, such as those that macOS leaves in archives, are none.

    Raises:
        ValueError: if there is none.
    """
    files = sorted(p for p in Path(folder).rglob("[!.]*.nii*") if p.name.endswith((".nii", ".nii.gz")))
    if not files:
        raise ValueError(f"folder must hold volumes as NIfTI files, {Path(folder).name!r} holds none")
    return [{"image": str(p), "name": p.name.removesuffix(".gz").removesuffix(".nii")} for p in files]

"""The files of one segmented scan: label map, result, table, page and DICOM segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from siamed.pipeline.case_files import save_nifti, table, write_text
from siamed.pipeline.report.kidney_page import render_kidneys

from .reader import KidneyReading
from .result import KidneyResult

__all__ = ["KidneyFiles", "volumes_table"]

_OWN_FILES = ("result.json", "kidneys.nii.gz", "volumes.csv", "report.html", "dicom/kidneys.dcm")


def volumes_table(result: KidneyResult) -> str:
    """Return ``volumes.csv``: one row a kidney."""
    columns = ["scan_id", "subject_id", "structure", "label", "volume_ml", "touches_edge"]
    rows = [
        {
            "scan_id": result.scan.scan_id,
            "subject_id": result.scan.subject_id,
            "structure": one.name,
            "label": one.label,
            "volume_ml": one.volume_ml,
            "touches_edge": "yes" if one.touches_edge else "no",
        }
        for one in result.structures
    ]
    return table(columns, rows)


@dataclass(frozen=True)
class KidneyFiles:
    """The files of a :class:`~siamed.pipeline.kidneys.reader.KidneyReading`.

    Args:
        dicom: write a DICOM segmentation too.
    """

    dicom: bool = False
    index: str = "kidney_index.html.j2"

    def write(self, folder: Path, reading: KidneyReading) -> None:
        """Write what a reading holds, ``result.json`` last.

        Raises:
            CaseError: if DICOM is wanted and the scan's headers do not serve.
            ValueError: if the result contradicts itself; nothing is written then.
        """
        import nibabel
        import numpy as np

        from siamed.pipeline.experiments.files import replace_file

        text = reading.result.to_json() + "\n"  # checks the result before anything is written
        page = render_kidneys(reading)
        folder.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(reading.labels, np.asarray(reading.scan.image.affine, float))
        image.header.set_xyzt_units("mm")
        # The temporary name must end as NIfTI's does.
        replace_file(folder / "kidneys.nii.gz", partial(save_nifti, image))
        write_text(folder / "volumes.csv", volumes_table(reading.result))
        write_text(folder / "report.html", page)
        if self.dicom:
            from siamed.pipeline.scans.dicom_segmentation import write_segmentation

            names = {one.label: one.name for one in reading.result.structures}
            bundles = reading.result.bundles
            write_segmentation(reading.scan, reading.labels, names, bundles, folder / "dicom" / "kidneys.dcm")
        else:
            _remove(folder / "dicom" / "kidneys.dcm")
        write_text(folder / "result.json", text)

    def remove(self, folder: Path, empty: bool) -> None:
        """Remove the files of an earlier run, and nothing else."""
        if not folder.is_dir():
            return
        for name in _OWN_FILES:
            _remove(folder / name)
        if empty and not any(folder.iterdir()):
            folder.rmdir()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.name == "dicom" and path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()

"""Find what there is to read under a path: image files, DICOM studies, and files that are neither.

Files are told apart by content, not by name, except NIfTI, MetaImage and NRRD, which are known by their
endings. Nothing here opens pixels.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.identity import file_stem, keyed_id

if TYPE_CHECKING:
    from siamed.pipeline.scans.dicom import FileHeader

logger = logging.getLogger(__name__)

VOLUME_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr")
# Names that promise DICOM: such a file that cannot be read is reported, any other is just not an image.
_DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_LABEL_NAME = re.compile(r"(?i)(^|[_\-. ])(label|labels|mask|masks|seg|dseg|segmentation)$")

_LABEL_FOLDERS = {"label", "labels", "mask", "masks", "labelstr", "labelsts", "segmentations"}


@dataclass(frozen=True)
class Case:
    """One thing to process in a batch; give it to :func:`~siamed.pipeline.scans.read_scan`.

    Args:
        case_id: unique in its batch. Image files go by their own name; DICOM studies by a keyed hash, because
            folders exported from an archive are named after patients.
        path: the file, or the folder that holds the study.
        files: the study's files, where ``path`` alone might hold more than one study.
    """

    case_id: str
    path: Path
    files: tuple[Path, ...] = field(default=(), repr=False)


@dataclass
class Found:
    """What lies under a path: image files, DICOM headers, DICOM that cannot be read, DICOM without images."""

    volumes: list[Path] = field(default_factory=list)
    headers: list[FileHeader] = field(default_factory=list)
    broken: list[CaseError] = field(default_factory=list)
    without_image: int = 0


def is_volume_file(path: Path) -> bool:
    """Tell by its ending whether a file is NIfTI, MetaImage or NRRD.

    Old exports name DICOM files ``.img`` too, so that one is looked into.
    """
    if not path.name.lower().endswith(VOLUME_ENDINGS):
        return False
    if path.suffix.lower() != ".img" or not path.is_file():
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] != b"DICM"


def walk(path: Path) -> list[Path]:
    """Return every file under a folder, sorted; hidden files and folders are left out.

    Links that lead nowhere are kept, to be reported; pipes and devices, which may never open, are not. What
    siamed itself has written below the folder is no scan: hotspots, volumes and label maps beside a result.
    """
    found: list[Path] = []
    for folder, names, files in os.walk(path):
        ours = _results_beside(Path(folder), files)
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in ours)
        kept = sorted(n for n in files if not n.startswith(".") and n not in ours)
        found += [Path(folder) / name for name in kept]
    return [path for path in found if path.is_file() or path.is_symlink()]


def _results_beside(folder: Path, files: Iterable[str]) -> set[str]:
    """Names of images, and of folders of them, that a command of siamed left beside its result."""
    if "result.json" not in files:
        return set()
    with open(folder / "result.json", "rb") as file:
        start = file.read(200)
    if b'"siamed/segmentation/' in start:
        return {"kidneys.nii.gz"}
    if b'"siamed/spine/' in start:
        return {"hotspots", *({"volumes"} if "volumes.csv" in files else ())}
    return set()


def inspect_files(paths: Iterable[Path]) -> Found:
    """Sort files into image files, DICOM images and broken DICOM; everything else is passed over."""
    from siamed.pipeline.scans.dicom import looks_like_dicom, read_header

    found = Found()
    for path in paths:
        if is_volume_file(path):
            if not (
                path.suffix.lower() == ".img" and path.with_suffix(".hdr").exists()
            ):  # .hdr stands for both
                found.volumes.append(path)
            continue
        try:
            if looks_like_dicom(path):
                header = read_header(path)
                if header is None:
                    found.without_image += 1
                else:
                    found.headers.append(header)
            elif path.suffix.lower() in _DICOM_ENDINGS:
                found.broken.append(_not_dicom(path))
        except CaseError as error:
            found.broken.append(error)
        except OSError as error:
            found.broken.append(_not_dicom(path, type(error).__name__))
    return found


def find_cases(path: str | Path) -> list[Case]:
    """List the cases under a path, one a DICOM study and one an image file.

    A study is what shares Study Instance UID and Patient ID, in whatever folders its files lie. A folder with
    nothing readable in it is a case too: reading it raises the reason, so that it shows in the case table.
    Files named as labels or masks (``_label``, ``_mask``, ``_seg``, or just so; folders ``masks``,
    ``labels``) are not scans: left out and logged.

    Args:
        path: a file, a series folder, a study folder, or a folder of studies.

    Returns:
        At least one case, ordered by path.

    Raises:
        CaseError: code ``path-not-found``; code ``no-id-key`` if case ids cannot be made.
    """
    path = Path(path)
    check_exists(path)
    if path.name.upper() == "DICOMDIR" and path.is_file():
        path = path.parent
    if path.is_file():
        return [Case(file_stem(path) if is_volume_file(path) else keyed_id("file", path.name), path)]
    files = walk(path)
    found = inspect_files(files)
    cases = _file_cases(path, found.volumes) + _study_cases(found)
    cases += _empty_cases(path, cases, found)
    return sorted(cases, key=lambda case: (case.path, case.case_id))


def series_cases(case: Case) -> list[Case]:
    """Take a DICOM study apart: one case a series, for those who want all of them and not the best.

    Args:
        case: from :func:`find_cases`.

    Returns:
        Cases whose ids are the ``scan_id`` that reading them gives. A file that cannot be read goes with the
        series beside it. What is no study, or has no readable series, comes back as it is.

    Raises:
        CaseError: code ``no-id-key`` if case ids cannot be made.
    """
    if not case.files:
        return [case]
    from siamed.pipeline.scans.dicom import group_series

    found = inspect_files(case.files)
    cases = []
    for series in group_series(found.headers):
        files = {header.path for header in series.files}
        folders = {file.parent for file in files}
        files |= {e.path for e in found.broken if e.path is not None and e.path.parent in folders}
        name = keyed_id("scan", f"series:{series.first.series_uid}")
        cases.append(Case(name, Path(os.path.commonpath(folders)), tuple(sorted(files))))
    return cases or [case]


def check_exists(path: Path) -> None:
    """Raise CaseError ``path-not-found`` where there is no such file or folder."""
    if not path.exists():
        raise CaseError(
            "path-not-found",
            "there is no such file or folder",
            path=path,
            hint="Check the path for a typing error.",
        )


def is_label_file(path: Path) -> bool:
    """Tell by its name, or by a folder's, whether an image file is a label map or mask, not a scan.

    Args:
        path: from the folder that was asked for, so that nothing above it counts.
    """
    folders = {part.lower() for part in path.parts[:-1]}
    return bool(_LABEL_NAME.search(file_stem(path)) or folders & _LABEL_FOLDERS)


def _file_cases(root: Path, volumes: list[Path]) -> list[Case]:
    scans = [path for path in volumes if not is_label_file(path.relative_to(root))]
    if len(scans) < len(volumes):
        logger.info("%d label or mask files are left out", len(volumes) - len(scans))
    stems = Counter(file_stem(path) for path in scans)
    cases = []
    for path in scans:
        stem = file_stem(path)
        if stems[stem] > 1:  # the same name in several folders, or with several endings
            parts = path.relative_to(root).parts
            stem = "-".join([*parts[:-1], path.name.replace(".", "_")])
        cases.append(Case(stem, path))
    return cases


def _study_cases(found: Found) -> list[Case]:
    from siamed.pipeline.scans.dicom import group_studies

    cases = []
    for headers in group_studies(found.headers):
        files = [header.path for header in headers]
        place = Path(os.path.commonpath({file.parent for file in files}))
        # A broken file beside a study's slices may be one of them: it goes with the study.
        files += [e.path for e in found.broken if e.path is not None and place in e.path.parents]
        study, patient = headers[0].study_uid, headers[0].patient_id
        name = keyed_id("study", f"{study}\0{patient}" if study or patient else str(files[0]))
        cases.append(Case(name, place, tuple(sorted(set(files)))))
    return cases


def _empty_cases(root: Path, cases: list[Case], found: Found) -> list[Case]:
    """Return a case for each folder that should have held a scan and does not."""
    if not cases:
        return [Case(keyed_id("folder", root.name), root)]
    taken = {file for case in cases for file in case.files}
    lost: dict[Path, list[Path]] = {}
    for error in found.broken:
        if error.path is not None and error.path not in taken:
            lost.setdefault(error.path.parent, []).append(error.path)
    if not any(case.path == root for case in cases):  # else one study lies across the whole folder
        for folder in _imageless(root, cases):
            if not any(folder in (place, *place.parents) for place in lost):
                lost[folder] = []
    return [
        Case(keyed_id("folder", str(folder.relative_to(root))), folder, tuple(files))
        for folder, files in sorted(lost.items())
    ]


def _imageless(root: Path, cases: list[Case]) -> list[Path]:
    """Return the folders right under the root that hold no case but should.

    Among several studies a folder without images is a study that failed; beside a single one it may hold its
    documents, unless it is empty.
    """
    covered = {case.path.relative_to(root).parts[0] for case in cases}
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    several = sum(folder.name in covered for folder in folders) > 1
    return [f for f in folders if f.name not in covered and (several or not walk(f))]


def _not_dicom(path: Path, reason: str = "") -> CaseError:
    if reason:
        what = f"cannot be opened ({reason})"
    else:
        what = "is not DICOM, whatever its name says" if path.stat().st_size else "is empty"
    return CaseError(
        "unreadable-file",
        f"a file {what}",
        path=path,
        hint="Copy the file again from its source, or remove it from the folder.",
    )

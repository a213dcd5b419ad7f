"""Read one scan, whatever its format: voxels in file order, an affine to RAS+ mm, ids that name nobody."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans.discover import Case, Found, check_exists, inspect_files, is_volume_file, walk
from siamed.pipeline.scans.identity import keyed_id
from siamed.pipeline.scans.sequence import UNKNOWN
from siamed.pipeline.scans.volume import SourceFrame, Volume, check_volume, spacing_of

if TYPE_CHECKING:
    from monai.data import MetaTensor

logger = logging.getLogger(__name__)

CT_AIR_LIMIT, CT_AIR_SHARE = -900.0, 0.1


@dataclass(frozen=True)
class Scan:
    """One volume as its file holds it.

    Args:
        scan_id: keyed hash; the same scan has the same id wherever its files lie.
        subject_id: keyed hash of the Patient ID, or of what a file's name says.
        sequence: "T2", "T1", "T2_SPACE", ... or "unknown".
        image: MetaTensor (1, I, J, K) float32 with its affine (voxel to RAS+ mm).
        spacing_mm: distance between neighbors along I, J, K.
        orientation: where I, J, K grow, nearest axes, for example "PIL" for sagittal slices.
        modality: "MR", "CT", ... or "unknown" for formats that do not say.
        source: the file, or the folder that held the series.
        notes: what was chosen and what is unusual, for the user to read.
        localizer: the file calls itself a localizer.
        frames: of DICOM, the file and frame of each slice along K; empty for other formats.
    """

    scan_id: str
    subject_id: str
    sequence: str
    image: MetaTensor = field(repr=False)
    spacing_mm: tuple[float, float, float]
    orientation: str
    modality: str
    source: Path = field(repr=False)
    notes: tuple[str, ...] = ()
    localizer: bool = False
    frames: tuple[SourceFrame, ...] = field(default=(), repr=False)


def read_scan(path: str | Path | Case, series: int | str | None = None, body_part: str = "spine") -> Scan:
    """Read one scan from a file, a series folder or a study folder.

    Of a study with several series the best for the body part is taken, for the spine the sagittal T2, or the
    one that ``series`` names; ``notes`` say which and why. Nothing is resampled, reordered beyond the
    positions of its slices, padded or clipped.

    Args:
        path: file or folder, or a case from :func:`~siamed.pipeline.scans.find_cases`.
        series: series number, SeriesInstanceUID or description; for DICOM only.
        body_part: what is looked for, see :func:`~siamed.pipeline.scans.select.choose_series`.

    Returns:
        The scan; DICOM index axes are (column, row, slice), other formats keep their own.

    Raises:
        CaseError: what is wrong with the data, in one of the codes listed in ``docs/decisions/0014``.
    """
    case_id = path.case_id if isinstance(path, Case) else None
    place = path.path if isinstance(path, Case) else Path(path)
    no_notes: tuple[str, ...] = ()
    try:
        check_exists(place)
        if place.is_file() and is_volume_file(place):
            source, volume, notes = place, _read_file(place), no_notes
        else:
            source, volume, notes = _read_dicom(place, _files(path), series, body_part)
        return _scan(volume, source, notes)
    except CaseError as error:
        raise CaseError(
            error.code,
            error.message,
            path=error.path or place,
            case_id=case_id or error.case_id,
            hint=error.hint,
        ) from error


def is_ct(scan: Scan) -> bool:
    """Whether a scan is CT: by its modality, or by air of -900 HU where the format has none.

    See :func:`guess_modality`.
    """
    return (guess_modality(scan) if scan.modality == UNKNOWN else scan.modality) == "CT"


def guess_modality(scan: Scan) -> str:
    """What the values say of a scan whose format does not say its modality.

    Air of -900 HU is CT's. Where no value is below 0 it is taken for MR; ringing after a resampling makes MR
    negative too, but never by more than a small share of its maximum.

    Returns:
        "CT", "MR", or "unknown" where values are below 0 and none is air: CT cut to a window, MR with mean 0.
    """
    low, high = float(scan.image.min()), float(scan.image.max())
    if low > -CT_AIR_SHARE * high:
        return "MR"
    return "CT" if low <= CT_AIR_LIMIT else UNKNOWN


def check_is_dicom(scan: Scan) -> None:
    """Refuse a scan that did not come from DICOM.

    Raises:
        CaseError: code ``not-dicom``.
    """
    if not scan.frames:
        raise CaseError(
            "not-dicom",
            "results can be written as DICOM only where the scan is DICOM: they refer to its images",
            path=scan.source,
            hint="Give the DICOM series, or run without --dicom.",
        )


def _files(path: str | Path | Case) -> list[Path]:
    if isinstance(path, Case) and path.files:
        return list(path.files)
    place = path.path if isinstance(path, Case) else Path(path)
    if place.is_file() and place.name.upper() == "DICOMDIR":
        place = place.parent
    return [place] if place.is_file() else walk(place)


def _read_file(path: Path) -> Volume:
    from siamed.pipeline.scans.itk_formats import ITK_ENDINGS, read_itk
    from siamed.pipeline.scans.nifti import read_nifti

    return read_itk(path) if path.name.lower().endswith(ITK_ENDINGS) else read_nifti(path)


def _read_dicom(
    place: Path, files: list[Path], wanted: int | str | None, body_part: str
) -> tuple[Path, Volume, tuple[str, ...]]:
    from siamed.pipeline.scans.dicom import group_series, group_studies, read_series
    from siamed.pipeline.scans.select import choose_series

    found = inspect_files(files)
    if not found.headers:
        return _without_dicom(place, files, found)
    if found.volumes:
        raise CaseError(
            "several-scans",
            f"the folder holds {len(found.headers)} DICOM files and {len(found.volumes)} of other formats",
            hint="Give one of them.",
        )
    studies = group_studies(found.headers)
    if len(studies) > 1:
        raise CaseError(
            "several-studies",
            f"the folder holds {len(studies)} studies",
            hint="Give the folder of one study, or use a command that takes a folder of studies.",
        )
    chosen, notes = choose_series(group_series(found.headers), wanted, body_part)
    folders = {file.path.parent for file in chosen.files}
    for error in found.broken:
        if error.path is not None and error.path.parent in folders:
            raise CaseError(
                error.code,
                f"{error.message}; it lies beside the slices of {chosen.name} and may be one of them",
                path=error.path,
                hint=error.hint,
            )
    if found.broken:
        notes += (f"{len(found.broken)} unreadable files in other folders of the study were passed over",)
    if place.is_file() and len(chosen.frames) == 1:
        notes += ("one file was given, one slice; give its folder for the whole series",)
    source = place if place.is_file() or len(folders) > 1 else next(iter(folders))
    return source, read_series(chosen), notes


def _without_dicom(place: Path, files: list[Path], found: Found) -> tuple[Path, Volume, tuple[str, ...]]:
    """Read a folder's only image file, or say why there is nothing to read."""
    if found.broken:
        raise found.broken[0]
    if len(found.volumes) == 1:
        return found.volumes[0], _read_file(found.volumes[0]), ()
    if found.volumes:
        raise CaseError(
            "several-scans",
            f"the folder holds {len(found.volumes)} image files",
            hint="Give one of the files.",
        )
    if place.is_file() and found.without_image:
        raise CaseError(
            "no-images",
            "the file is DICOM but holds no image (a report, a plan, a directory or the like)",
            hint="Give the image series of the study.",
        )
    if place.is_file():
        raise CaseError(
            "unsupported-format",
            "the file is not an image in DICOM, NIfTI, MetaImage or NRRD",
            hint="Give a scan in one of these formats; NIfTI, MetaImage and NRRD are known by their endings.",
        )
    raise CaseError(
        "no-images",
        f"the folder holds no images ({len(files)} files; {found.without_image} DICOM without an image, "
        "none in NIfTI, MetaImage or NRRD)",
        hint="Give a file or folder with a scan.",
    )


def _scan(volume: Volume, source: Path, notes: tuple[str, ...]) -> Scan:
    check_volume(volume.array, volume.affine)
    import nibabel
    import torch
    from monai.data import MetaTensor

    spacing = spacing_of(volume.affine)
    image = MetaTensor(torch.from_numpy(volume.array)[None], affine=torch.from_numpy(volume.affine))
    scan = Scan(
        scan_id=keyed_id("scan", volume.identity),
        subject_id=keyed_id("sub", volume.subject),
        sequence=volume.sequence,
        image=image,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        orientation="".join(nibabel.aff2axcodes(volume.affine)),
        modality=volume.modality,
        source=source,
        notes=(*notes, *volume.notes),
        localizer=volume.localizer,
        frames=volume.frames,
    )
    logger.debug(
        "read %s: %s, %s voxels, %s", scan.scan_id, scan.sequence, volume.array.shape, scan.orientation
    )
    return scan

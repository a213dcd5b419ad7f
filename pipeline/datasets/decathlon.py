"""Tasks of the Medical Segmentation Decathlon: what ``dataset.json`` lists.

``modality`` ({"0": "CT"}), ``training`` (image and label of each case, in ``imagesTr/`` and ``labelsTr/``),
``test`` (images without a label map, in ``imagesTs/``), paths from its own folder. The same file as nnU-Net's
first version writes it is read too, where the image on disk ends in ``_0000``.

A task of several modalities (Task01 brain tumors, Task05 prostate) holds 4-D images; they are refused: what
is trained here takes one channel, and which one is for the user to say, by saving it as a 3-D file. This is
told by ``modality`` alone, no image is opened.

Whose a case is, ``subjects.csv`` or its name tells, see :mod:`~siamed.pipeline.datasets.subjects`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from siamed.pipeline.experiments.files import read_json
from siamed.pipeline.scans.identity import file_stem

from .manifest import Manifest, ScanRow
from .subjects import subjects_of

__all__ = ["decathlon_manifest", "is_decathlon"]

_TABLE = "dataset.json"


def is_decathlon(folder: str | Path) -> bool:
    """Whether a folder holds ``dataset.json`` with a list ``training``.

    Raises:
        ValueError: if ``dataset.json`` is not JSON.
    """
    content = read_json(Path(folder) / _TABLE)
    return isinstance(content, dict) and isinstance(content.get("training"), list)


def decathlon_manifest(folder: str | Path) -> Manifest:
    """Scans and label maps that ``dataset.json`` lists; its test images have an empty ``label``.

    What macOS leaves beside files (``._NAME.nii.gz``) is passed over.

    Args:
        folder: of one task, for example ``Task03_Liver``.

    Raises:
        ValueError: if there is no such list, the task has several modalities, or a listed path leads out of
            the folder or nowhere.
    """
    root = Path(folder)
    if not is_decathlon(root):
        raise ValueError(
            f"dataset_dir must hold {_TABLE} with a list 'training', {root.name!r} does not: give the folder "
            "of one task"
        )
    content = read_json(root / _TABLE)
    sequence = _modality(content.get("modality", {}))
    pairs = [_pair(entry) for entry in content["training"]]
    pairs += [(_text(name), "") for name in content.get("test") or []]
    pairs = [(image, label) for image, label in pairs if not Path(image).name.startswith("._")]
    if not pairs:
        raise ValueError(f"{_TABLE} must list scans, that of {root.name!r} lists none: load the task again")
    cases = [file_stem(Path(image)) for image, _ in pairs]
    subjects = subjects_of(root, cases)
    rows = [
        ScanRow(case, subjects[case], sequence, _present(root, image), _present(root, label) if label else "")
        for case, (image, label) in zip(cases, pairs, strict=True)
    ]
    return Manifest(root, tuple(rows), {})


def _modality(modality: Any) -> str:
    if not isinstance(modality, dict) or len(modality) > 1:
        raise ValueError(
            f"{_TABLE} must name one modality, got {modality}: save one channel of each image as a 3-D file "
            "and name that one alone"
        )
    return str(next(iter(modality.values()), ""))


def _pair(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
        raise ValueError(
            f"{_TABLE} must list image and label of each training case, got {entry!r}: scans without a label "
            "map belong under 'test'"
        )
    return _text(entry["image"]), _text(entry["label"])


def _text(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{_TABLE} must give paths as text, got {name!r}: write './imagesTr/NAME.nii.gz'")
    return name


def _present(root: Path, name: str) -> str:
    """A listed path as it lies below the folder."""
    path = Path(name)
    if path.anchor or ".." in path.parts:
        raise ValueError(
            f"{_TABLE} must list paths below its own folder, got {name!r}: write './imagesTr/NAME.nii.gz'"
        )
    channel = path.with_name(path.name.replace(".nii", "_0000.nii"))
    for one in (path, channel):
        if (root / one).is_file():
            return one.as_posix()
    raise ValueError(
        f"{_TABLE} must list files that are there, {name!r} is not: load the task again or take it off "
        "the list"
    )

"""Files damaged at random, a few bytes at a time, end in a scan or a CaseError: never in a traceback."""

from __future__ import annotations

from collections import Counter

import nibabel
import numpy as np
import pytest

from siamed.pipeline.scans import CaseError, find_cases, read_scan

MUTATIONS = 120


def _damaged(content: bytes, header: int, rng: np.random.Generator) -> bytes:
    """Cut the file short, change up to five bytes of its header, or drop up to eight of them."""
    kind, at = rng.integers(3), int(rng.integers(min(header, len(content))))
    if kind == 0:
        return content[: int(rng.integers(len(content)))]
    if kind == 1:
        changed = bytearray(content)
        for place in rng.integers(min(header, len(content)), size=rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        return bytes(changed)
    return content[:at] + content[at + int(rng.integers(1, 9)) :]


@pytest.mark.parametrize(
    ("kind", "header"),
    [("single.dcm", 1600), ("enhanced.dcm", 2600), ("7_t2.nii", 352), ("7_t2.nii.gz", 400)],
)
def test_random_damage_never_ends_in_another_exception(write, tmp_path, kind, header):
    if kind.endswith(".dcm"):
        source = write(tmp_path / "good", enhanced=kind.startswith("enhanced"))[0]
    else:
        source = tmp_path / kind
        array = np.random.default_rng(0).integers(0, 900, (16, 20, 7)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.6, 0.5, 4.0, 1.0])), source)
    content, rng = source.read_bytes(), np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    folder = tmp_path / "bad"
    folder.mkdir()
    for _ in range(MUTATIONS):
        (folder / kind).write_bytes(_damaged(content, header, rng))
        assert len(find_cases(folder)) == 1
        try:
            read_scan(folder / kind)
            outcomes["scan"] += 1
        except CaseError as error:
            assert error.hint
            outcomes[error.code] += 1
    assert sum(outcomes.values()) == MUTATIONS
    assert outcomes["truncated-file"] + outcomes["unreadable-file"] > MUTATIONS // 4, outcomes

"""The table of volumes: what it refuses, and that it comes back as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamed.pipeline.pairs.volumes import VolumeTable

ROWS = [
    ("p1", "twins", "s1", "2001", "T2", "L3", "volumes/s1/L3.nii.gz", "a"),
    ("p1", "twins", "s2", "2011", "T2", "L3", "volumes/s2/L3.nii.gz", "b"),
    ("p2", "twins", "s3", "", "T2", "L3", "volumes/s3/L3.nii.gz", "c"),
    ("p3", "", "s4", "", "T1", "S1", "volumes/s4/S1.nii.gz", "d"),
]


def test_a_table_comes_back_as_written(tmp_path: Path) -> None:
    table = VolumeTable.from_rows(tmp_path, ROWS)
    again = VolumeTable.read(table.write())
    assert again.sha256 == table.sha256
    assert [tuple(again[name][i] for name in again.columns) for i in range(4)] == ROWS
    assert again.paths()[3] == tmp_path / "volumes/s4/S1.nii.gz"


def test_a_subject_without_a_family_is_one_of_its_own(tmp_path: Path) -> None:
    rows = [*ROWS, ("twins", "", "s5", "", "T2", "L3", "x", "e")]  # a subject named as a family is not of it
    families = VolumeTable.from_rows(tmp_path, rows).families.tolist()
    assert families[0] == families[1] == families[2]
    assert len({families[0], families[3], families[4]}) == 3


def test_subjects_and_sequences_are_chosen(tmp_path: Path) -> None:
    table = VolumeTable.from_rows(tmp_path, ROWS)
    assert table.of(["p1", "p3"])["scan_id"].tolist() == ["s1", "s2", "s4"]
    assert table.of(["p1", "p3"], ["T1"])["scan_id"].tolist() == ["s4"]
    assert len(table.of([])) == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("p1", "twins", "s1", "", "T2", "L3", "x", "e"), r"unique together, \('s1', 'L3'\) occurs more"),
        (("p1", "other", "s9", "", "T2", "L3", "x", "e"), r"'p1' has 'twins' and 'other'"),
        (("p9", "", "s9", "", "T2", "T9", "x", "e"), r"level must be one of .* got \['T9'\]"),
    ],
)
def test_a_row_that_breaks_the_contract_is_refused(tmp_path: Path, row: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VolumeTable.from_rows(tmp_path, [*ROWS, row])


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "volumes.csv").write_text("subject_id,level\n1,L3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks \['family_id', 'order'"):
        VolumeTable.read(tmp_path / "volumes.csv")

"""The sagittal T2 of a study is chosen, and the notes say what and why."""

from __future__ import annotations

import numpy as np
import pytest

from siamed.pipeline.scans import CaseError, read_scan

AXIAL = np.array([[0.5, 0, 0, 0], [0, -0.6, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
T1 = {"series_description": "t1_tse_sag", "echo_time_ms": 11.0, "repetition_time_ms": 550.0}


@pytest.fixture
def study(write, tmp_path):
    """A localizer, a sagittal T1, a sagittal T2, an axial T2 of more slices, a sagittal STIR."""
    folder = tmp_path / "study"
    many = np.random.default_rng(1).integers(0, 500, (16, 20, 12))
    write(
        folder / "1",
        series_number=1,
        series_description="localizer",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
    )
    write(folder / "2", series_number=2, **T1)
    write(folder / "3", series_number=3, series_description="t2_tse_sag", series_uid="1.2.3.4.3")
    write(folder / "4", series_number=4, series_description="t2_tse_tra", array=many, matrix=AXIAL)
    write(folder / "5", series_number=5, series_description="t2_tirm_sag")
    return folder


def test_sagittal_t2_is_chosen_of_a_study(study):
    scan = read_scan(study)
    assert scan.sequence == "T2" and scan.orientation == "PIR"
    assert scan.source == study / "3"
    note = scan.notes[0]
    assert note.startswith(
        "series 3 't2_tse_sag' was picked of 5 as the best sagittal T2: sagittal, T2, 7 slices"
    )
    for other in (
        "series 1 'localizer' (localizer, ",
        "series 2 't1_tse_sag' (sagittal, T1",
        "(axial, T2, 12 slices",
    ):
        assert other in note


@pytest.mark.parametrize(
    ("wanted", "number"), [(2, 2), ("2", 2), ("t1_tse_sag", 2), ("TIRM", 5), ("1.2.3.4.3", 3)]
)
def test_a_named_series_is_taken(study, wanted, number):
    scan = read_scan(study, series=wanted)
    assert scan.notes[0].startswith(f"series {number} ") and "was asked for" in scan.notes[0]
    assert scan.source == study / str(number)


@pytest.mark.parametrize("wanted", [9, "coronal", ""])
def test_a_series_that_is_not_there_lists_what_is(study, wanted):
    with pytest.raises(CaseError, match=r"no series answers to .*series 3 't2_tse_sag'") as caught:
        read_scan(study, series=wanted)
    assert caught.value.code == "series-not-found"


def test_a_name_that_fits_two_series_is_refused(study):
    with pytest.raises(CaseError, match="3 series answer to 't2'") as caught:
        read_scan(study, series="t2")
    assert caught.value.code == "series-ambiguous"


def test_t1_serves_where_there_is_no_t2(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=1, **T1)
    write(tmp_path / "s" / "2", series_number=2, series_description="t2_tse_tra", matrix=AXIAL)
    assert read_scan(tmp_path / "s").sequence == "T1"


def test_a_broken_t2_is_passed_over_and_said_so(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=1, **T1)
    write(tmp_path / "s" / "2", series_number=2)[3].unlink()
    scan = read_scan(tmp_path / "s")
    assert scan.sequence == "T1"
    assert "series 2 'T2 TSE SAG' (missing-slices" in scan.notes[0]


def test_of_two_alike_the_later_is_taken_and_the_other_named(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=3)
    write(tmp_path / "s" / "2", series_number=7)
    scan = read_scan(tmp_path / "s")
    assert scan.notes[0].startswith("series 7 ")
    assert any("series 3" in note and "served as well" in note for note in scan.notes[1:])


def test_original_is_taken_before_derived(write, tmp_path):
    write(tmp_path / "s" / "1", series_number=1)
    write(tmp_path / "s" / "2", series_number=2, image_type=("DERIVED", "SECONDARY", "MPR"))
    assert read_scan(tmp_path / "s").notes[0].startswith("series 1 ")


def test_series_mixed_in_one_folder_are_told_apart_by_their_uid(write, tmp_path, volume):
    folder = tmp_path / "flat"
    for k, words in enumerate([T1, {}]):
        for path in write(tmp_path / str(k), series_number=k, **words):
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"{k}{path.stem}")
    scan = read_scan(folder)
    assert scan.sequence == "T2" and scan.image.shape == (1, *volume.shape)

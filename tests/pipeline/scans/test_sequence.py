"""Contrasts are named from words first, from times else."""

from __future__ import annotations

import pytest

from siamed.pipeline.scans.sequence import is_localizer_name, name_sequence


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("t2_tse_sag", "T2"),
        ("sT2W_TSE SENSE", "T2"),
        ("SagT2 FRFSE", "T2"),
        ("T2W Dixon", "T2"),
        ("t1_tse_sag", "T1"),
        ("001_T2_SPACE", "T2_SPACE"),
        ("7_t2_SPACE", "T2_SPACE"),
        ("t2_spc_sag_p2_iso", "T2_SPACE"),
        ("Sag CUBE T2", "T2_SPACE"),
        ("t1_space_sag", "T1_SPACE"),
        ("t2_tirm_sag", "STIR"),
        ("STIR_longTE", "STIR"),
        ("t2_flair", "FLAIR"),
        ("t2*_medic_tra", "T2_STAR"),
        ("pd_tse_fs", "PD"),
        ("test 25", "unknown"),
        ("t1 and t2 maps", "unknown"),
        ("", "unknown"),
    ],
)
def test_words_name_the_contrast(text, name):
    assert name_sequence(text) == name


@pytest.mark.parametrize(
    ("echo", "repetition", "inversion", "name"),
    [
        (100.0, 3500.0, None, "T2"),
        (11.0, 550.0, None, "T1"),
        (12.0, 3000.0, None, "PD"),
        (60.0, 4000.0, 160.0, "STIR"),
        (100.0, 9000.0, 2500.0, "FLAIR"),
        (40.0, 1000.0, None, "unknown"),
        (100.0, None, None, "unknown"),
        (None, None, None, "unknown"),
    ],
)
def test_times_name_it_where_words_do_not(echo, repetition, inversion, name):
    assert name_sequence("spine sag", echo, repetition, inversion) == name


def test_words_win_over_times():
    assert name_sequence("t1 sag", 100.0, 3500.0) == "T1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Localizer", True),
        ("3-plane LOC", True),
        ("SCOUT_sag", True),
        ("Survey", True),
        ("localiser", True),
        ("T2 sag", False),
        ("local shim", False),
        ("block", False),
    ],
)
def test_localizers_are_known_by_name(text, expected):
    assert is_localizer_name(text) is expected

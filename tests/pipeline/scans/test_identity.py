"""Ids are stable under one key, unlike under another, and never hold what they stand for."""

from __future__ import annotations

import hmac
import re
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans import read_scan
from siamed.pipeline.scans.identity import key_file, keyed_id, subject_from_file


def test_id_is_the_keyed_hash_by_the_book():
    expected = hmac.new(b"a key for tests", b"sub\0patient:7", sha256).hexdigest()[:16]
    assert keyed_id("sub", "patient:7") == f"sub-{expected}"


def test_another_key_or_kind_gives_another_id(monkeypatch):
    ids = {keyed_id("sub", "7"), keyed_id("scan", "7")}
    monkeypatch.setenv("SIAMED_ID_KEY", "another key")
    assert len(ids | {keyed_id("sub", "7")}) == 3


def test_short_key_is_refused(monkeypatch):
    monkeypatch.setenv("SIAMED_ID_KEY", "short")
    with pytest.raises(CaseError, match="at least 8 characters, it has 5") as caught:
        keyed_id("sub", "7")
    assert caught.value.code == "no-id-key"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
def test_key_file_is_made_once_for_the_user_alone(monkeypatch):
    monkeypatch.delenv("SIAMED_ID_KEY")
    assert not key_file().exists()
    first = keyed_id("sub", "7")
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert len(key_file().read_text().strip()) == 64
    assert keyed_id("sub", "7") == first
    assert [p.name for p in key_file().parent.iterdir()] == ["id.key"]


def test_processes_that_start_together_end_with_one_key(monkeypatch):
    monkeypatch.delenv("SIAMED_ID_KEY")
    code = "from siamed.pipeline.scans.identity import keyed_id; print(keyed_id('sub', '7'))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
    assert all(process.returncode == 0 for process in running)


def test_unwritable_configuration_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("SIAMED_ID_KEY")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(CaseError, match="neither read nor stored.*SIAMED_ID_KEY"):
        keyed_id("sub", "7")


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("001_T2_SPACE.nii.gz", "001"),
        ("7_t1.mha", "7"),
        ("7_t2.mha", "7"),
        ("7_t2_SPACE.mha", "7"),
        ("052_T2_SPACE_image.nii.gz", "052"),
        ("sub-01_T1w.nii.gz", "sub-01"),
        ("sub-01_ses-2_acq-sag_T2w.nii.gz", "sub-01"),
        ("sub-01b.nii.gz", "sub-01b"),
        ("sub-01-b.nii.gz", "sub-01-b"),
        ("t2_lumbar.nii.gz", "t2_lumbar"),
        ("anna/t2.nii.gz", "anna"),
        ("a.b.nii", "a.b"),
    ],
)
def test_subject_of_a_file_is_its_stem_without_the_contrast(name, subject):
    assert subject_from_file(Path("folder") / name) == subject


def test_series_of_one_patient_share_the_subject_not_the_scan(write, tmp_path):
    one = write(tmp_path / "1", study_uid="1.2.3.4")
    two = write(tmp_path / "2", study_uid="1.2.3.5")
    other = write(tmp_path / "3", patient_id="8")
    a, b, c = (read_scan(paths[0].parent) for paths in (one, two, other))
    assert a.subject_id == b.subject_id != c.subject_id
    assert len({a.scan_id, b.scan_id, c.scan_id}) == 3


def test_scan_id_does_not_depend_on_where_the_files_lie(write, tmp_path):
    write(tmp_path / "a")
    before = read_scan(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_scan(tmp_path / "b").scan_id == before.scan_id


def test_without_patient_id_the_study_stands_for_the_person(write, tmp_path):
    write(tmp_path / "a", patient_id="", study_uid="1.2.3.4")
    write(tmp_path / "b", patient_id="", study_uid="1.2.3.5")
    a, b = read_scan(tmp_path / "a"), read_scan(tmp_path / "b")
    assert a.subject_id != b.subject_id
    assert any("no Patient ID" in note for note in a.notes)


def test_a_scan_shows_nobody(write, tmp_path, identifying, caplog):
    caplog.set_level("DEBUG")
    write(tmp_path / "a")
    scan = read_scan(tmp_path / "a")
    text = repr(scan) + caplog.text + " ".join(str(value) for value in scan.image.meta.values())
    assert not [part for part in identifying if part in text]
    assert re.fullmatch(r"scan-[0-9a-f]{16}", scan.scan_id) and re.fullmatch(
        r"sub-[0-9a-f]{16}", scan.subject_id
    )


def test_invalid_values_of_the_patient_are_not_quoted_by_the_dicom_library(
    write, tmp_path, identifying, caplog, capfd
):
    """pydicom logs and warns about values that break its rules, and quotes them."""
    caplog.set_level("DEBUG")
    paths = write(tmp_path / "a", patient_id="SECRET-4711")
    for path in paths:
        content = path.read_bytes()
        # Same lengths: a control character in the id and the name, letters in the birth date and a UID.
        content = content.replace(b"SECRET-4711", b"SECRET\x194711").replace(b"Doe^Jane", b"Doe^J\x01ne")
        path.write_bytes(content.replace(b"1.2.3.4\x00", b"1.Doe.4\x00"))
    scan = read_scan(tmp_path / "a")
    assert scan.image.shape[-1] == 7
    heard = caplog.text + "".join(capfd.readouterr())
    assert not [part for part in ("SECRET", "4711", "Doe") if part in heard]

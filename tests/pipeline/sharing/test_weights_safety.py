"""Pickles that would call something are found without being loaded."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from siamed.pipeline.sharing.weights_safety import weights_faults


class Calls:
    """A pickle of this leaves a file behind when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.sentinel}",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_in_a_state_dictionary_is_named(tmp_path: Path, protocol: int) -> None:
    content = {"w": torch.zeros(2), "x": Calls(tmp_path / "pwned")}
    torch.save(content, tmp_path / "model.pt", pickle_protocol=protocol)
    (fault,) = weights_faults(tmp_path / "model.pt")
    assert fault == "model.pt:data.pkl would call posix.system"
    assert not (tmp_path / "pwned").exists()


def test_the_old_form_which_is_one_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    (fault,) = weights_faults(tmp_path / "model.pt")
    assert "not a bare pickle" in fault


def test_a_pickle_in_torchscript_is_found_whatever_its_name(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "model.ts"))
    assert weights_faults(tmp_path / "model.ts") == []
    hidden = pickle.dumps(Calls(tmp_path / "pwned"), protocol=4)
    with zipfile.ZipFile(tmp_path / "model.ts", "a") as archive:
        archive.writestr("model/extra/notes.txt", hidden)
    assert weights_faults(tmp_path / "model.ts") == ["model.ts:extra/notes.txt would call posix.system"]


def test_an_archive_within_an_archive_is_looked_through(tmp_path: Path) -> None:
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(2, 2),))
    torch.export.save(exported, tmp_path / "model.pt2")
    assert weights_faults(tmp_path / "model.pt2") == []
    inner = io.BytesIO()
    torch.save({"x": Calls(tmp_path / "pwned")}, inner)
    with zipfile.ZipFile(tmp_path / "model.pt2", "a") as archive:
        archive.writestr("model/data/sample.pt", inner.getvalue())
    (fault,) = weights_faults(tmp_path / "model.pt2")
    assert fault.endswith("would call posix.system")


def test_a_broken_pickle_is_a_fault(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "model.pt", "w") as broken,
    ):
        for entry in whole.infolist():
            content = whole.read(entry)
            broken.writestr(entry, content[:-5] if entry.filename.endswith("data.pkl") else content)
    (fault,) = weights_faults(tmp_path / "model.pt")
    assert "must be a whole pickle" in fault

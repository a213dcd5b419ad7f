"""A CaseError says what, where and what to do, and survives a trip between processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from siamed.pipeline.errors import CaseError


def test_text_is_message_then_hint_and_leaves_the_path_out():
    error = CaseError(
        "axial-series", "the slices are axial.", path="Doe_Jane/7", hint="Give the sagittal series."
    )
    assert str(error) == "the slices are axial. Give the sagittal series."
    assert error.path == Path("Doe_Jane/7") and error.code == "axial-series" and error.case_id is None


def test_pickling_keeps_every_field():
    error = CaseError("no-images", "nothing here", path="a", case_id="7", hint="Look elsewhere.")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, copy.path, copy.case_id, copy.hint) == (
        "no-images",
        "nothing here",
        Path("a"),
        "7",
        "Look elsewhere.",
    )


@pytest.mark.parametrize("code", ["Axial", "axial series", "", "-axial"])
def test_a_code_that_is_no_slug_is_refused(code):
    with pytest.raises(ValueError, match="code must be a slug"):
        CaseError(code, "message", hint="Hint.")


def test_an_error_without_a_way_out_is_refused():
    with pytest.raises(ValueError, match="hint must not be empty"):
        CaseError("no-images", "message", hint=" ")

"""What a failed training is said to have failed of."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamed.pipeline.label_efficiency.training import Training, failure_of


@pytest.mark.parametrize(
    ("console", "said"),
    [
        (
            "epoch 1\nTraceback (most recent call last):\n  File x\nValueError: hparams must be those of the "
            "checkpoint\n\nThe above exception was the direct cause\n  File y\nRuntimeError: Failed to "
            'evaluate ConfigExpression: \n"$@train#trainer.run()"\n',
            "ValueError: hparams must be those of the checkpoint",
        ),
        (
            "ValueError: image must be larger\n\nThe above exception was the direct cause\n\nRuntimeError: "
            "applying transform <RandCropd object at 0x7f>\n",
            "ValueError: image must be larger",
        ),
        ("torch.OutOfMemoryError: no memory left\nbye\n", "torch.OutOfMemoryError: no memory left"),
        ("epoch 1\nKilled\n\n", "Killed"),
        ("", "it left no message"),
    ],
)
def test_a_failure_is_told_in_the_trainings_own_words(tmp_path: Path, console: str, said: str) -> None:
    training = Training("one", "spine_mr_disc_grading", tmp_path, {})
    assert failure_of(training) == "it left no message"
    (tmp_path / "console.log").write_text(console, encoding="utf-8")
    assert failure_of(training) == said

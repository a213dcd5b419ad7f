"""The rate is divided where validation stands still, and the training ends where that no longer helps."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events

from siamed.pipeline.experiments.plateau import PlateauSchedule


def train(losses: list[float], resume_after: int | None = None, **options: float) -> tuple[list[float], int]:
    """Rates after each epoch, and the epochs done, of a training whose validations find these losses."""
    wanted = {"factor": 0.1, "patience": 2, "divisions": 1, **options}
    rates: list[float] = []
    state: dict = {}

    def run(first: int, last: int) -> int:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        trainer, evaluator = Engine(lambda *_: None), Engine(lambda *_: None)
        schedule = PlateauSchedule(optimizer, evaluator, "loss", **wanted)
        if state:
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
        schedule.attach(trainer)

        @trainer.on(Events.STARTED)
        def resume() -> None:  # as Checkpoints does
            trainer.state.epoch = trainer.state.iteration = first

        @trainer.on(Events.EPOCH_COMPLETED)
        def validate() -> None:
            evaluator.state.metrics = {"loss": losses[trainer.state.epoch - 1]}
            evaluator.fire_event(Events.COMPLETED)
            rates.append(optimizer.param_groups[0]["lr"])

        trainer.run([0], max_epochs=last)
        state.update(optimizer=optimizer.state_dict(), schedule=schedule.state_dict())
        return trainer.state.epoch

    if resume_after:
        run(0, resume_after)
    return rates, run(resume_after or 0, len(losses))


def test_the_rate_falls_after_the_patience_and_the_training_ends_at_the_next_plateau() -> None:
    losses = [5, 4, 4, 4, 4, 3, 3, 3, 3, 1, 0]
    rates, epochs = train(losses)
    # Minimum 4 at epoch 2, three validations without a new one: division after epoch 5. Again with 3.
    assert rates[:4] == [1, 1, 1, 1]
    assert rates[4:8] == pytest.approx([0.1] * 4)
    assert epochs == 9


def test_a_training_that_improves_is_left_alone() -> None:
    rates, epochs = train([9, 8, 7, 6, 5, 4, 3])
    assert set(rates) == {1.0}
    assert epochs == 7


@pytest.mark.parametrize("after", [3, 5, 7])
def test_a_resumed_training_ends_as_an_uninterrupted_one(after: int) -> None:
    losses = [5, 4, 4, 4, 4, 3, 3, 3, 3, 1, 0]
    assert train(losses, resume_after=after) == train(losses)


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"patience": -1}, {"divisions": -1}])
def test_values_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(options))}.* must"):
        train([1], **options)

"""The end of a schedule that is given in epochs: known once a fit says how many updates an epoch has."""

from __future__ import annotations

from typing import Any

from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


def set_end(model: Any, steps_per_epoch: int | None) -> None:
    """Gives each schedule of a wrapped model that is as long as so many epochs its `end_step`; does nothing to others.

    While no update has been made, each training that begins sets it: one that was refused may begin again with batches
    of another size.

    Raises:
      ValueError: there is such a schedule, and nobody knows how many steps an epoch has; or more updates than it lasts
        have been made.
    """
    wrappers = _clocks(model)
    made = latest_update(model)
    if not made:
        for wrapper in wrappers:
            before = getattr(wrapper.unsaved, "schedule_in_epochs", None)
            if before is not None:
                wrapper.follow(before)
    open_ended = [each for each in wrappers if not getattr(each.pruning_schedule, "has_end", True)]
    if not open_ended:
        return
    epochs = open_ended[0].pruning_schedule.epochs
    if not steps_per_epoch:
        raise ValueError(
            "The schedule ends after a number of epochs, and nobody knows how many steps one has: pass steps_per_epoch "
            "to fit, as a generator and a dataset of unknown size do not tell, or give the schedule an end_step, as a "
            f"custom loop needs. Received: epochs={epochs}, steps={steps_per_epoch}"
        )
    if made >= epochs * steps_per_epoch:
        raise ValueError(
            "The schedule ends after a number of epochs, and as many updates as these have are made already, by "
            "weights that were loaded: give the schedule the end_step of the training that they come from. "
            f"Received: epochs={epochs} of {steps_per_epoch} steps, {made} updates made"
        )
    for wrapper in open_ended:
        wrapper.unsaved.schedule_in_epochs = wrapper.pruning_schedule
        wrapper.follow(wrapper.pruning_schedule.with_steps(steps_per_epoch))
    if getattr(model, "train_function", None) is not None:
        # One that an earlier training has traced ends where that would have.
        model.train_function = None
        model.train_function = model.make_train_function()


def latest_update(model: Any) -> int:
    """Returns how many updates a wrapped model has been trained for; wrappers of frozen layers may lag behind."""
    return max((int(each.pruning_step.numpy()) for each in _clocks(model)), default=0)


def _clocks(model: Any) -> list[PruningWrapper]:
    """Returns the wrappers whose clock counts updates."""
    return [each for each in collect_wrappers(model, PruningWrapper) if each.counts_updates]

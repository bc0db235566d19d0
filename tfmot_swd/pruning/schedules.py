"""Pruning schedules in a training: the end of those given in epochs, and the refusal of TFMOT's own wrapper."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compat import PruneLowMagnitude, layer_being_called, retrace_training_step
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


def set_end(model: Any, steps_per_epoch: int | None) -> None:
    """Sets the `end_step` of the schedules of a wrapped model that are given in epochs; leaves others as they are.

    Each training sets it anew while no update has been made, so one that was refused may begin again with another batch
    size.

    Args:
      model: a wrapped tf_keras model.
      steps_per_epoch: updates in an epoch; None where they are not known.

    Raises:
      ValueError: there is such a schedule and `steps_per_epoch` is not known; or as many updates as it lasts have
        already been made.
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
            "The schedule ends after a number of epochs, and the number of steps in an epoch is not known: pass "
            "steps_per_epoch to fit with a generator or a dataset of unknown size, or give the schedule an end_step in "
            f"a custom loop. Received: epochs={epochs}, steps={steps_per_epoch}"
        )
    if made >= epochs * steps_per_epoch:
        raise ValueError(
            "The schedule ends after a number of epochs, and the loaded weights have already been trained for as many "
            "updates: give the schedule the end_step of the training that they come from. "
            f"Received: epochs={epochs} of {steps_per_epoch} steps, {made} updates made"
        )
    for wrapper in open_ended:
        wrapper.unsaved.schedule_in_epochs = wrapper.pruning_schedule
        wrapper.follow(wrapper.pruning_schedule.with_steps(steps_per_epoch))
    # The trace of an earlier training ends at the end_step of that one.
    retrace_training_step(model)


def latest_update(model: Any) -> int:
    """Returns the number of updates that a wrapped model has been trained for, the largest of its wrappers."""
    return max((int(each.pruning_step.numpy()) for each in _clocks(model)), default=0)


def _clocks(model: Any) -> list[PruningWrapper]:
    """Returns the wrappers whose `pruning_step` counts updates."""
    return [each for each in collect_wrappers(model, PruningWrapper) if each.counts_updates]


def check_not_in_tfmots_wrapper(schedule: object, entry: str) -> None:
    """Raises where TFMOT's own wrapper calls a schedule of this package.

    TFMOT would prune each layer by magnitude, to a sparsity that the schedule means for the whole model or for
    channels. The wrappers of this package never call a schedule from inside their `call`.

    Args:
      schedule: the schedule that is being called.
      entry: name of the function of this package that takes the schedule.

    Raises:
      ValueError: the layer in whose `call` this happens is a wrapper of TFMOT.
    """
    layer = layer_being_called()
    if isinstance(layer, PruneLowMagnitude):
        name = type(schedule).__name__
        raise ValueError(
            f"tfmot.sparsity.keras.prune_low_magnitude cannot follow a {name}: it would prune each layer by magnitude "
            f"on its own. Call tfmot_swd.{entry}(model, schedule) instead, and fit with tfmot_swd.UpdatePruningStep(). "
            f"Received: a {name} as pruning_schedule of the layer {layer.name!r}"
        )

"""The end of a schedule that is given in epochs: known once a fit says how many updates an epoch has."""

from __future__ import annotations

from typing import Any

from tfmot_swd.decay_wrapper import DecayWrapper
from tfmot_swd.pruning_wrapper import collect_wrappers


def set_end(model: Any, steps_per_epoch: int | None) -> None:
    """Gives each schedule of a wrapped model that is as long as so many epochs its `end_step`; does nothing to others.

    Raises:
      ValueError: there is such a schedule, and nobody knows how many steps an epoch has.
    """
    wrappers = [each for each in collect_wrappers(model, DecayWrapper) if not each.pruning_schedule.has_end]
    if wrappers and not steps_per_epoch:
        raise ValueError(
            "The schedule ends after a number of epochs, and nobody knows how many steps one has: pass steps_per_epoch "
            "to fit, as a generator and a dataset of unknown size do not tell, or give the schedule an end_step, as a "
            f"custom loop needs. Received: epochs={wrappers[0].pruning_schedule.epochs}, steps={steps_per_epoch}"
        )
    for wrapper in wrappers:
        wrapper.follow(wrapper.pruning_schedule.with_steps(steps_per_epoch))

"""Masks by magnitude, of each weight on its own or of all under one threshold."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import ConstantSparsity, tfmot_mask
from tfmot_swd.magnitude.wrapper import PruneMagnitude
from tfmot_swd.pruning.mask_pool import MaskPool

# TFMOT counts updates from 1, and chooses an m by n pattern at the first.
_FIRST = 1


class MagnitudePool(MaskPool[PruneMagnitude]):
    """Chooses masks at the steps of TFMOT's schedules; the mask of a weight on its own is TFMOT's own arithmetic.

    Where weights are pruned each on its own, layers may have schedules of their own, as in TFMOT.
    """

    wrapper_class = PruneMagnitude

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(self.are_due(step))

    def are_due(self, step: tf.Tensor) -> list[tf.Tensor]:
        return [_is_due(wrapper, step) for wrapper in self.wrappers]

    def end(self) -> int | None:
        last = [_last_update(wrapper.pruning_schedule) for wrapper in self.wrappers]
        known = [each for each in last if each is not None]
        return max(*known, _FIRST) - _FIRST if len(known) == len(last) else None

    def choose(self, step: tf.Tensor) -> list[tf.Tensor]:
        update = step + _FIRST
        if self.leader.scope == "global":
            return self.global_masks(self.schedule(update)[1])
        return [
            tfmot_mask(
                weight.read_value(),
                wrapper.pruning_schedule(update)[1],
                wrapper.blocks.size,
                wrapper.blocks.pooling,
                wrapper.sparsity_m_by_n,
            )
            for wrapper in self.wrappers
            for weight, _, _ in wrapper.pruning_vars
        ]

    def _check_schedules(self) -> None:
        scopes = {wrapper.scope for wrapper in self.wrappers}
        if len(scopes) > 1:
            raise ValueError(
                "All layers of a model are pruned in one scope: wrap them in one call, or each with scope='layer'. "
                f"Received: scopes {', '.join(sorted(scopes))}"
            )
        if scopes == {"global"}:
            super()._check_schedules()


def _is_due(wrapper: PruneMagnitude, step: tf.Tensor) -> tf.Tensor:
    """Returns whether masks of a layer are chosen before this update, a bool scalar."""
    update = step + _FIRST
    if wrapper.sparsity_m_by_n:
        return tf.equal(update, _FIRST)
    schedule = wrapper.pruning_schedule
    # TFMOT never reaches an end that its frequency does not divide.
    last = _last_update(schedule)
    return tf.cast(schedule(update)[0], tf.bool) | tf.equal(update, -1 if last is None else last)


def _last_update(schedule: Any) -> int | None:
    """Returns the update from which on the sparsity is the final one, as TFMOT counts; None where it has no end."""
    last = getattr(schedule, "end_step", None)
    if last is not None and last >= 0:
        return int(last)
    # A constant sparsity is the final one from its begin on.
    return int(schedule.begin_step) if isinstance(schedule, ConstantSparsity) else None

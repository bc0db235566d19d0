"""Masks by magnitude, of each weight on its own or of all under one threshold."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import tfmot_mask
from tfmot_swd.magnitude.wrapper import PruneMagnitude
from tfmot_swd.pruning.mask_pool import MaskPool

# TFMOT counts updates from 1, and chooses an m by n pattern at the first.
_FIRST = 1


class MagnitudePool(MaskPool[PruneMagnitude]):
    """Chooses masks at the steps of TFMOT's schedules; the mask of a weight on its own is TFMOT's own arithmetic.

    Where weights are pruned each on its own, layers may have schedules of their own, as in TFMOT.
    """

    wrapper_class = PruneMagnitude
    _at_once = False

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any([_is_due(wrapper, step) for wrapper in self.wrappers])

    def end(self) -> int:
        return max(max(_last_update(wrapper.pruning_schedule) for wrapper in self.wrappers) - _FIRST, 0)

    def finish(self) -> None:
        # Layers whose schedule has ended before the others' are not due then.
        self._at_once = True
        try:
            super().finish()
        finally:
            self._at_once = False

    def choose(self, step: tf.Tensor) -> list[tf.Tensor]:
        if self.leader.scope == "global":
            return self.global_masks(self.schedule(step + _FIRST)[1])
        return [mask for wrapper in self.wrappers for mask in self._own_masks(wrapper, step)]

    def _own_masks(self, wrapper: PruneMagnitude, step: tf.Tensor) -> list[tf.Tensor]:
        sparsity, due = wrapper.pruning_schedule(step + _FIRST)[1], self._at_once or _is_due(wrapper, step)
        blocks, pattern = wrapper.blocks, wrapper.sparsity_m_by_n
        return [
            tf.where(
                due, tfmot_mask(weight.read_value(), sparsity, blocks.size, blocks.pooling, pattern), mask.read_value()
            )
            for weight, mask, _ in wrapper.pruning_vars
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
    return tf.cast(schedule(update)[0], tf.bool) | tf.equal(update, _last_update(schedule))


def _last_update(schedule: Any) -> int:
    """Returns the update from which on the sparsity is the final one, as TFMOT counts."""
    last = getattr(schedule, "end_step", -1)
    return int(last if last >= 0 else getattr(schedule, "begin_step", 0))

"""Masks by magnitude, of each weight on its own or of all under one threshold."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import ConstantSparsity, tfmot_mask
from tfmot_swd.magnitude.wrapper import PruneMagnitude
from tfmot_swd.pruning.mask_pool import MaskPool

# TFMOT counts updates from 1, and chooses an m by n pattern at the first.
_FIRST = 1
# An update that no training makes.
_FAR = 2**31 - 2


class MagnitudePool(MaskPool[PruneMagnitude]):
    """Chooses masks at the steps of TFMOT's schedules; the mask of a weight on its own is TFMOT's own arithmetic.

    Where weights are pruned each on its own, layers may have schedules of their own, as in TFMOT.
    """

    wrapper_class = PruneMagnitude
    _at_once = False

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any([_is_due(wrapper, step) for wrapper in self.wrappers])

    def are_due(self, step: tf.Tensor) -> list[tf.Tensor]:
        return [tf.constant(True) if self._at_once else _is_due(wrapper, step) for wrapper in self.wrappers]

    def end(self) -> int:
        known = [_last_update(wrapper.pruning_schedule) for wrapper in self.wrappers]
        if self._at_once and None in known:
            # Of a schedule without an end: what it asks for in the long run.
            return _FAR
        return max(max((each for each in known if each is not None), default=0) - _FIRST, 0)

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
    last = _last_update(schedule)
    return tf.cast(schedule(update)[0], tf.bool) | tf.equal(update, -1 if last is None else last)


def _last_update(schedule: Any) -> int | None:
    """Returns the update from which on the sparsity is the final one, as TFMOT counts; None where it has no end."""
    last = getattr(schedule, "end_step", None)
    if last is not None and last >= 0:
        return int(last)
    # A constant sparsity is the final one from its begin on.
    return int(schedule.begin_step) if isinstance(schedule, ConstantSparsity) else None

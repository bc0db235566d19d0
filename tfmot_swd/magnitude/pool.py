"""Masks by magnitude, of each weight on its own or of all under one threshold."""

from __future__ import annotations

import tensorflow as tf

from tfmot_swd.keras2.compat import tfmot_mask
from tfmot_swd.magnitude.wrapper import PruneMagnitude
from tfmot_swd.pruning.mask_pool import MaskPool

# TFMOT counts updates from 1, and chooses an m by n pattern at the first.
_FIRST = 1


class MagnitudePool(MaskPool[PruneMagnitude]):
    """Chooses masks at the steps of a TFMOT schedule; the values of each weight are TFMOT's own arithmetic."""

    wrapper_class = PruneMagnitude

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        update = step + _FIRST
        if self.leader.sparsity_m_by_n:
            return tf.equal(update, _FIRST)
        # TFMOT never reaches an end that its frequency does not divide.
        return tf.cast(self.schedule(update)[0], tf.bool) | tf.equal(update, self._last_update)

    def end(self) -> int:
        return max(self._last_update - _FIRST, 0)

    @property
    def _last_update(self) -> int:
        """The update from which on the sparsity is the final one, as TFMOT counts."""
        last = getattr(self.schedule, "end_step", -1)
        return int(last if last >= 0 else getattr(self.schedule, "begin_step", 0))

    def choose(self, step: tf.Tensor) -> list[tf.Tensor]:
        sparsity = self.schedule(step + _FIRST)[1]
        return self.global_masks(sparsity) if self.leader.scope == "global" else self._own_masks(sparsity)

    def _own_masks(self, sparsity: tf.Tensor) -> list[tf.Tensor]:
        masks = []
        for wrapper in self.wrappers:
            for weight, _, _ in wrapper.pruning_vars:
                blocks, pattern = wrapper.blocks, wrapper.sparsity_m_by_n
                masks.append(tfmot_mask(weight.read_value(), sparsity, blocks.size, blocks.pooling, pattern))
        return masks

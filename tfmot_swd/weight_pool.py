"""All prunable weights of one model under one global threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.decay_pool import DecayPool
from tfmot_swd.pruning_wrapper import assign
from tfmot_swd.thresholds import (
    bits_to_float,
    concat_magnitude_bits,
    magnitude_bits,
    select_bits_near,
)
from tfmot_swd.wrappers import PruneSelectiveDecay


class WeightPool(DecayPool[PruneSelectiveDecay]):
    """The weights of the wrapped layers, each decayed and cut on its own; see `DecayPool`."""

    wrapper_class = PruneSelectiveDecay

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self.size = sum(int(np.prod(weight.shape)) for weight in self.counted())

    def counted(self) -> list[tf.Variable]:
        """Returns the variables that the rate counts."""
        return [weight for wrapper in self.wrappers for weight in wrapper.prunable_weights[: wrapper.counted]]

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, in float32."""
        step = self._step_now()
        active = self._is_active(step)
        bits = magnitude_bits(self.leader.threshold.read_value())
        total = tf.zeros([])
        for weight in wrapper.prunable_weights:
            value = tf.cast(weight, tf.float32)
            total += tf.nn.l2_loss(tf.where(magnitude_bits(value) < bits, value, 0.0))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns the threshold's bits: computed anew, or as they were between two refreshes."""

        def compute() -> tf.Tensor:
            bits = self._threshold_bits(self.schedule.sparsity(step))
            assign(strategy, self.leader.threshold, bits_to_float(bits))
            return bits

        if self.schedule.frequency == 1:
            return compute()
        return tf.cond(self.schedule.is_due(step), compute, lambda: magnitude_bits(self.leader.threshold.read_value()))

    def _threshold_bits(self, sparsity: tf.Tensor) -> tf.Tensor:
        """Returns the bits of sorted(pool)[int(sparsity · N)]; `sparsity` is a float64 scalar."""
        with tf.name_scope("selective_decay_threshold"):
            bits = concat_magnitude_bits([weight.read_value() for weight in self.counted()])
            rank = tf.cast(sparsity * self.size, tf.int32)
            return select_bits_near(bits, rank, magnitude_bits(self.leader.threshold.read_value()))

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, bits: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)

        def shrink(weight: tf.Variable, bits: tf.Tensor, factor: tf.Tensor) -> Any:
            return weight.assign(_shrunk([weight.read_value()], bits, factor)[0])

        weights = [weight for wrapper in self.wrappers for weight in wrapper.prunable_weights]
        if strategy.num_replicas_in_sync == 1:
            values = _shrunk([weight.read_value() for weight in weights], bits, factor)
            for weight, value in zip(weights, values, strict=True):
                weight.assign(value)
            return
        for weight in weights:
            strategy.extended.update(weight, shrink, args=(bits, factor))

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        final = tf.constant(self.schedule.final_sparsity, tf.float64)
        bits = self._threshold_bits(final)

        def set_mask(mask: tf.Variable, weight: tf.Tensor) -> Any:
            return mask.assign(tf.cast(magnitude_bits(weight) >= bits, mask.dtype))

        for weight, mask, _ in [row for wrapper in self.wrappers for row in wrapper.pruning_vars]:
            strategy.extended.update(mask, set_mask, args=(weight,))
        assign(strategy, self.leader.threshold, bits_to_float(bits))


@tf.function(jit_compile=True)
def _shrunk(values: Sequence[tf.Tensor], bits: tf.Tensor, factor: tf.Tensor) -> list[tf.Tensor]:
    """Returns w · factor where |w| is below the threshold, w elsewhere; all tensors in one fused pass."""
    shrunk = []
    for value in values:
        wide = tf.cast(value, tf.float32)
        shrunk.append(tf.where(magnitude_bits(wide) < bits, tf.cast(wide * factor, value.dtype), value))
    return shrunk

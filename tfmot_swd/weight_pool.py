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
    """The weights of the wrapped layers, each decayed and cut on its own, or with its block; see `DecayPool`."""

    wrapper_class = PruneSelectiveDecay

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self.size = sum(int(np.prod(weight.shape)) for weight in self.counted())

    def counted(self) -> list[tf.Variable]:
        """Returns the variables that the rate counts."""
        return [weight for _, weight in self._counted()]

    def targeted(self) -> np.ndarray:
        """Returns for each weight that the rate counts whether it lies below the threshold, bool (N,)."""
        threshold = float(self.leader.threshold.numpy())
        ranked = [wrapper.ranked(self._compared(wrapper, weight).numpy()) for wrapper, weight in self._counted()]
        return np.concatenate([np.abs(np.asarray(each, np.float32)).ravel() < threshold for each in ranked])

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, in float32."""
        step = self._step_now()
        active = self._is_active(step)
        bits = magnitude_bits(self.leader.threshold.read_value())
        total = tf.zeros([])
        for weight in wrapper.prunable_weights:
            value = tf.cast(weight, tf.float32)
            total += tf.nn.l2_loss(tf.where(magnitude_bits(wrapper.ranked(value)) < bits, value, 0.0))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    def _counted(self) -> list[tuple[PruneSelectiveDecay, tf.Variable]]:
        return [(wrapper, each) for wrapper in self.wrappers for each in wrapper.prunable_weights[: wrapper.counted]]

    def _compared(self, wrapper: PruneSelectiveDecay, weight: tf.Variable) -> tf.Variable:
        """Returns the variable whose magnitudes decide whether a weight is targeted."""
        return weight

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
            compared = [(wrapper, self._compared(wrapper, weight).read_value()) for wrapper, weight in self._counted()]
            bits = concat_magnitude_bits([wrapper.ranked(value) for wrapper, value in compared])
            rank = tf.cast(sparsity * self.size, tf.int32)
            return select_bits_near(bits, rank, magnitude_bits(self.leader.threshold.read_value()))

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, bits: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)

        def shrink(weight: tf.Variable, wrapper: PruneSelectiveDecay, bits: tf.Tensor, factor: tf.Tensor) -> Any:
            value = weight.read_value()
            return weight.assign(_shrunk([value], [wrapper.pooled(value)], bits, factor)[0])

        weights = [(wrapper, weight) for wrapper in self.wrappers for weight in wrapper.prunable_weights]
        if strategy.num_replicas_in_sync == 1:
            values = [weight.read_value() for _, weight in weights]
            pooled = [wrapper.pooled(value) for (wrapper, _), value in zip(weights, values, strict=True)]
            for (_, weight), value in zip(weights, _shrunk(values, pooled, bits, factor), strict=True):
                weight.assign(value)
            return
        for wrapper, weight in weights:
            strategy.extended.update(weight, shrink, args=(wrapper, bits, factor))

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        final = tf.constant(self.schedule.final_sparsity, tf.float64)
        bits = self._threshold_bits(final)

        def set_mask(mask: tf.Variable, weight: tf.Tensor, wrapper: PruneSelectiveDecay) -> Any:
            return mask.assign(tf.cast(magnitude_bits(wrapper.ranked(weight)) >= bits, mask.dtype))

        for wrapper in self.wrappers:
            for weight, mask, _ in wrapper.pruning_vars:
                strategy.extended.update(mask, set_mask, args=(self._compared(wrapper, weight), wrapper))
        assign(strategy, self.leader.threshold, bits_to_float(bits))


@tf.function(jit_compile=True)
def _shrunk(
    values: Sequence[tf.Tensor], pooled: Sequence[tf.Tensor | None], bits: tf.Tensor, factor: tf.Tensor
) -> list[tf.Tensor]:
    """Returns w · factor where |w|, or what is pooled of its block, is below the threshold, w elsewhere: one pass."""
    shrunk = []
    for value, own in zip(values, pooled, strict=True):
        wide = tf.cast(value, tf.float32)
        below = magnitude_bits(wide if own is None else own) < bits
        shrunk.append(tf.where(below, tf.cast(wide * factor, value.dtype), value))
    return shrunk

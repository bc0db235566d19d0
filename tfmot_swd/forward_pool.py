"""Selective Weight Decay in the forward pass alone: a dense copy of the weights takes what the optimizer does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.pruning_wrapper import collect_wrappers
from tfmot_swd.thresholds import bits_to_float, magnitude_bits
from tfmot_swd.weight_pool import WeightPool
from tfmot_swd.wrappers import PruneSelectiveDecay


class ForwardPool(WeightPool):
    """A `WeightPool` whose variables hold what the forward pass uses, and whose wrappers hold the dense weights.

    With θ the dense weights and T the threshold of |θ|, the forward pass uses

        e(θ) = sign(θ) · (|θ|^p - T^p)^(1/p)  where |θ| >= T,  else 0.

    The gradient at e is applied to θ (straight through): an update moves the variable from e to e + u, and the next one
    begins by adding u to θ. So any optimizer works, and nothing but the wrappers knows of θ. Before the first update θ
    is zero, as is e, and what is added is the weight itself.

    Source of the forms: soft thresholding (p = 1) arXiv 2212.01076, p = 3 arXiv 2310.02448.
    """

    def settle(self) -> None:
        """Moves what the optimizer has done into the dense weights; the variables then hold the pruned ones."""
        with self.strategy.scope():
            self._settle(self.strategy)
            bits = magnitude_bits(self.leader.threshold.read_value())
            self._decay(self.strategy, tf.constant(0.0), bits)

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        self._settle(strategy)
        return super()._refresh(strategy, step)

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, bits: tf.Tensor) -> None:
        del shrink_by  # What is targeted is used as zero, whatever the strength.
        self._update(strategy, bits, settle=False)

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        self._settle(strategy)
        super()._choose(strategy)
        self._decay(strategy, tf.constant(0.0), magnitude_bits(self.leader.threshold.read_value()))

    def _settle(self, strategy: tf.distribute.Strategy) -> None:
        self._update(strategy, magnitude_bits(self.leader.threshold.read_value()), settle=True)

    def _threshold_bits(self, sparsity: tf.Tensor) -> tf.Tensor:
        # While nothing is targeted yet, the smallest weight must not shrink all others.
        return tf.where(sparsity * self.size >= 1.0, super()._threshold_bits(sparsity), 0)

    def _compared(self, wrapper: PruneSelectiveDecay, weight: tf.Variable) -> tf.Variable:
        return wrapper.dense_of(weight)

    def _update(self, strategy: tf.distribute.Strategy, bits: tf.Tensor, settle: bool) -> None:
        """Adds the last update to the dense weights, or writes what is used of them into the variables."""
        pairs = [(wrapper, weight) for wrapper in self.wrappers for weight in wrapper.prunable_weights]
        power = self.schedule.threshold_power

        def assign(target: tf.Variable, other: Any, wrapper: PruneSelectiveDecay, bits: tf.Tensor) -> Any:
            dense = tf.convert_to_tensor(target if settle else other)
            (used,) = used_weights([dense], [wrapper.pooled(dense)], bits, power)
            return target.assign_add(other - used) if settle else target.assign(used)

        if strategy.num_replicas_in_sync > 1:
            for wrapper, weight in pairs:
                dense = wrapper.dense_of(weight)
                target, other = (dense, weight) if settle else (weight, dense)
                strategy.extended.update(target, assign, args=(other, wrapper, bits))
            return
        dense = [wrapper.dense_of(weight).read_value() for wrapper, weight in pairs]
        pooled = [wrapper.pooled(value) for (wrapper, _), value in zip(pairs, dense, strict=True)]
        for (wrapper, weight), used in zip(pairs, used_weights(dense, pooled, bits, power), strict=True):
            if settle:
                wrapper.dense_of(weight).assign_add(weight.read_value() - used)
            else:
                weight.assign(used)


def weight_pool_of(model: Any) -> WeightPool:
    """Returns the pool of a model of `prune_selective_decay`, in the form that its schedule asks for.

    Raises:
      ValueError: as `DecayPool.of`.
    """
    wrappers = collect_wrappers(model, PruneSelectiveDecay)
    is_forward = any(wrapper.pruning_schedule.is_forward for wrapper in wrappers)
    return (ForwardPool if is_forward else WeightPool).of(model)


@tf.function(jit_compile=True, reduce_retracing=True)
def used_weights(
    dense: Sequence[tf.Tensor], pooled: Sequence[tf.Tensor | None], bits: tf.Tensor, power: float
) -> list[tf.Tensor]:
    """Returns what the forward pass uses of dense weights θ under a threshold T, in one pass.

    Args:
      dense: θ, tensors of any shape and float dtype.
      pooled: for each |θ| pooled over its block, or None where weights stand alone.
      bits: int32, the bits of T; what is below it becomes zero, what is at it stays.
      power: p; infinity leaves what stays as it is.

    >>> theta = tf.constant([-3.0, 1.0, 2.0])
    >>> used_weights([theta], [None], magnitude_bits(tf.constant(1.5)), 1.0)[0].numpy().round(3).tolist()
    [-1.5, 0.0, 0.5]
    """
    # The number before T: what is at T would be shrunk to zero otherwise, and the count of zeros be one too high.
    threshold = bits_to_float(tf.maximum(bits - 1, 0))
    found = []
    for value, own in zip(dense, pooled, strict=True):
        size = tf.abs(tf.cast(value, tf.float32)) if own is None else own
        factor = tf.ones_like(size)
        if not math.isinf(power):
            factor = (1.0 - (threshold / tf.maximum(size, threshold)) ** power) ** (1.0 / power)
            # 0 / 0, where nothing is pruned yet.
            factor = tf.where(threshold > 0.0, factor, 1.0)
        kept = magnitude_bits(size) >= bits
        found.append(tf.where(kept, value * tf.cast(factor, value.dtype), tf.zeros_like(value)))
    return found

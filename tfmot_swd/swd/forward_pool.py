"""Selective Weight Decay in the forward pass alone: a dense copy of the weights takes what the optimizer does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.pruning.thresholds import bits_to_float, magnitude_bits
from tfmot_swd.pruning.wrapped_models import assign, collect_wrappers
from tfmot_swd.swd.weight_pool import WeightPool
from tfmot_swd.swd.wrapper import PruneSelectiveDecay, Target


class ForwardPool(WeightPool):
    """A `WeightPool` whose variables hold what the forward pass uses, and whose wrappers hold the dense weights.

    With θ the dense weights and T the threshold of |θ|, the forward pass uses

        e(θ) = sign(θ) · (|θ|^p - T^p)^(1/p)  where |θ| >= T,  else 0.

    The gradient at e is applied to θ (straight through): an update moves the variable from e to e + u, and the next one
    begins by adding u to θ. So any optimizer works, and nothing but the wrappers knows of θ. Before the first update θ
    is zero, as is e, and what is added is the weight itself. Values that are set by hand between two fits count as an
    update too. From the final pruning step on θ is what the variables hold.

    Source of the forms: soft thresholding (p = 1) arXiv 2212.01076, p = 3 arXiv 2310.02448.
    """

    def join(self, optimizer: Any) -> None:
        # What has been trained since the final pruning step, and what was loaded, is what the dense weights are.
        self.settle()
        finished = [wrapper for wrapper in self.wrappers if bool(wrapper.cut.numpy())]
        super().join(optimizer)
        with self.strategy.scope():
            for wrapper in finished:
                if not bool(wrapper.cut.numpy()):
                    # A layer has joined late, and the final pruning step is made again: until then all stay.
                    wrapper.limits.assign(tf.zeros_like(wrapper.limits))
        self.settle()

    def settle(self) -> None:
        """Moves what the optimizer has done into the dense weights; the variables then hold the pruned ones."""
        with self.strategy.scope():
            self._settle(self.strategy)
            self._use(self.strategy, self._limit_bits(), self.schedule.threshold_power)

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        self._settle(strategy)
        return super()._refresh(strategy, step)

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, limits: tf.Tensor) -> None:
        # What is targeted is used as zero, whatever the strength.
        self._use(strategy, limits, self.schedule.threshold_power)

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        self._settle(strategy)
        super()._choose(strategy)
        limits = self._limit_bits()
        # Made again for a layer that has joined late, it must not shrink what was trained without a threshold.
        tf.cond(
            self.leader.pruning_step.read_value() > self.schedule.end_step,
            lambda: self._use(strategy, limits, math.inf),
            lambda: self._use(strategy, limits, self.schedule.threshold_power),
        )

    def _cut(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        made = super()._cut(strategy)
        # From here on the variables are trained as they are, and the dense weights follow them.
        for each in self._targets:
            strategy.extended.update(_dense(each), lambda dense, weight: dense.assign(weight), args=(each.weight,))
        return made

    def _compared(self, target: Target) -> tf.Variable:
        return _dense(target)

    def _selected(self, sparsity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        threshold, limits = super()._selected(sparsity)
        # While nothing is targeted yet, the smallest weight must not shrink all others.
        begun = sparsity * self.size >= 1.0
        return tf.where(begun, threshold, 0), tf.where(begun, limits, 0)

    def _keep_limits(self, strategy: tf.distribute.Strategy, limits: tf.Tensor) -> None:
        values = bits_to_float(limits)
        for wrapper in self.wrappers:
            own = [(place, each.index) for place, each in enumerate(self._targets) if each.wrapper is wrapper]
            if own:
                places, indices = zip(*own, strict=True)
                kept = tf.tensor_scatter_nd_update(
                    wrapper.limits.read_value(), [[index] for index in indices], tf.gather(values, places)
                )
                assign(strategy, wrapper.limits, kept)

    def _limit_bits(self) -> tf.Tensor:
        return magnitude_bits(tf.stack([each.wrapper.limits.read_value()[each.index] for each in self._targets]))

    def _settle(self, strategy: tf.distribute.Strategy) -> None:
        """Adds to the dense weights what the variables have moved by since they were written."""
        limits, power = self._used_limits(self._limit_bits()), self.schedule.threshold_power

        def add(dense: tf.Variable, weight: tf.Tensor, wrapper: PruneSelectiveDecay, limit: tf.Tensor) -> Any:
            value = tf.convert_to_tensor(dense)
            (used,) = used_weights([value], [wrapper.pooled(value)], limit, power)
            return dense.assign_add(weight - used)

        if strategy.num_replicas_in_sync == 1:
            for each, used in zip(self._targets, self._used(limits, power), strict=True):
                _dense(each).assign_add(each.weight.read_value() - used)
            return
        for place, each in enumerate(self._targets):
            limit = limits[place : place + 1]
            strategy.extended.update(_dense(each), add, args=(each.weight, each.wrapper, limit))

    def _use(self, strategy: tf.distribute.Strategy, limits: tf.Tensor, power: float) -> tf.Tensor:
        """Writes into the variables what the forward pass uses of the dense weights."""
        limits = self._used_limits(limits)

        def use(weight: tf.Variable, dense: tf.Tensor, wrapper: PruneSelectiveDecay, limit: tf.Tensor) -> Any:
            value = tf.convert_to_tensor(dense)
            return weight.assign(used_weights([value], [wrapper.pooled(value)], limit, power)[0])

        if strategy.num_replicas_in_sync == 1:
            for each, used in zip(self._targets, self._used(limits, power), strict=True):
                each.weight.assign(used)
            return tf.constant(True)
        for place, each in enumerate(self._targets):
            strategy.extended.update(each.weight, use, args=(_dense(each), each.wrapper, limits[place : place + 1]))
        return tf.constant(True)

    def _used_limits(self, limits: tf.Tensor) -> tf.Tensor:
        """Returns the limits, but 0 where a layer is pruned for good: all of it is used as it is."""
        finished = tf.stack([each.wrapper.cut.read_value() for each in self._targets])
        return tf.where(finished, 0, limits)

    def _used(self, limits: tf.Tensor, power: float) -> list[tf.Tensor]:
        dense = [_dense(each).read_value() for each in self._targets]
        pooled = [each.wrapper.pooled(value) for each, value in zip(self._targets, dense, strict=True)]
        return used_weights(dense, pooled, limits, power)


def _dense(target: Target) -> tf.Variable:
    if target.dense is None:
        raise RuntimeError(f"The forward form needs a dense copy of each weight. Received: {target.weight.name!r}")
    return target.dense


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
    dense: Sequence[tf.Tensor], pooled: Sequence[tf.Tensor | None], limits: tf.Tensor, power: float
) -> list[tf.Tensor]:
    """Returns what the forward pass uses of dense weights θ under a threshold T, in one pass.

    Args:
      dense: θ, tensors of any shape and float dtype.
      pooled: for each |θ| pooled over its block, or None where weights stand alone.
      limits: int32 vector, the bits of T for each; what is below it becomes zero, what is at it stays.
      power: p; infinity leaves what stays as it is.

    >>> theta = tf.constant([-3.0, 1.0, 2.0])
    >>> used_weights([theta], [None], magnitude_bits(tf.constant([1.5])), 1.0)[0].numpy().round(3).tolist()
    [-1.5, 0.0, 0.5]
    """
    # The number before T: what is at T would be shrunk to zero otherwise, and the count of zeros be one too high.
    thresholds = bits_to_float(tf.maximum(limits - 1, 0))
    found = []
    for place, (value, own) in enumerate(zip(dense, pooled, strict=True)):
        threshold = thresholds[place]
        size = tf.abs(tf.cast(value, tf.float32)) if own is None else own
        factor = tf.ones_like(size)
        if not math.isinf(power):
            factor = (1.0 - (threshold / tf.maximum(size, threshold)) ** power) ** (1.0 / power)
            # 0 / 0, where nothing is pruned yet.
            factor = tf.where(threshold > 0.0, factor, 1.0)
        kept = magnitude_bits(size) >= limits[place]
        found.append(tf.where(kept, value * tf.cast(factor, value.dtype), tf.zeros_like(value)))
    return found

"""Pool of the forward form of Selective Weight Decay: the optimizer trains a dense copy of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.pruning.magnitude_bits import bits_to_float, magnitude_bits
from tfmot_swd.pruning.wrapped_models import assign, collect_wrappers
from tfmot_swd.swd.weight_pool import WeightPool, is_kept
from tfmot_swd.swd.wrapper import PruneSelectiveDecay, Target


class ForwardPool(WeightPool):
    """A `WeightPool` that prunes in the forward pass alone, and keeps dense weights in the wrappers.

    With θ the dense weights and T the threshold of |θ|, the forward pass computes with

        e(θ) = sign(θ) · (|θ|^p - T^p)^(1/p)  where |θ| >= T,  else 0.

    The layers' variables hold e. The gradient at e is applied to θ (straight-through estimator): an update moves the
    variable from e to e + u, and the next one begins by adding u to θ. So any optimizer works, and only the wrappers
    hold θ. Before the first update θ and e are zero, so the weight itself is added. Values set by hand between two fits
    count as an update. From the final pruning step on, θ equals the variables.

    Source of the forms: soft thresholding (p = 1) arXiv 2212.01076, p = 3 arXiv 2310.02448.
    """

    def join(self, optimizer: Any) -> None:
        # Weights trained since the final pruning step, or loaded, become the dense weights.
        self.settle()
        finished = [wrapper for wrapper in self.wrappers if bool(wrapper.cut.numpy())]
        super().join(optimizer)
        with self.strategy.scope():
            for wrapper in finished:
                if not bool(wrapper.cut.numpy()):
                    # A layer has joined late, so the final pruning step is made again: until then nothing is targeted.
                    wrapper.limits.assign(tf.zeros_like(wrapper.limits))
        self.settle()

    def settle(self) -> None:
        """Adds the updates of the optimizer to the dense weights; the variables then hold the pruned ones."""
        with self.strategy.scope():
            self._settle(self.strategy)
            self._use(self.strategy, self._present_limits(), self.schedule.threshold_power)

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        self._settle(strategy)
        return super()._refresh(strategy, step)

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, limits: tf.Tensor) -> None:
        # Targeted weights are zero in the forward pass at any strength.
        self._use(strategy, limits, self.schedule.threshold_power)

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        self._settle(strategy)
        super()._choose(strategy)
        limits = self._present_limits()
        # A step that is made again for a late layer must not shrink weights that were trained without a threshold.
        tf.cond(
            self.leader.pruning_step.read_value() > self.schedule.end_step,
            lambda: self._use(strategy, limits, math.inf),
            lambda: self._use(strategy, limits, self.schedule.threshold_power),
        )

    def _prune(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        made = super()._prune(strategy)
        # From here on the variables are trained directly, and the dense weights follow them.
        for each in self._targets:
            strategy.extended.update(_dense(each), lambda dense, weight: dense.assign(weight), args=(each.weight,))
        return made

    def _compared(self, target: Target) -> tf.Variable:
        return _dense(target)

    def _selected(self, sparsity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        threshold, limits = super()._selected(sparsity)
        # While nothing is targeted, the smallest weight must not be a threshold that shrinks all others.
        begun = sparsity * self.size >= 1.0
        return tf.where(begun, threshold, 0.0), tf.where(begun, limits, 0.0)

    def _keep_limits(self, strategy: tf.distribute.Strategy, limits: tf.Tensor) -> None:
        for wrapper in self.wrappers:
            own = [(place, each.index) for place, each in enumerate(self._targets) if each.wrapper is wrapper]
            if own:
                places, indices = zip(*own, strict=True)
                kept = tf.tensor_scatter_nd_update(
                    wrapper.limits.read_value(), [[index] for index in indices], tf.gather(limits, places)
                )
                assign(strategy, wrapper.limits, kept)

    def _present_limits(self) -> tf.Tensor:
        return tf.stack([each.wrapper.limits.read_value()[each.index] for each in self._targets])

    def _settle(self, strategy: tf.distribute.Strategy) -> None:
        """Adds to the dense weights the updates of the variables since these were written."""
        dense = [_dense(each) for each in self._targets]
        self._update(
            strategy,
            dense,
            dense,
            self._used_limits(self._present_limits()),
            self._used_by(self.schedule.threshold_power),
            write=lambda variable, weight, used: variable.assign_add(tf.convert_to_tensor(weight) - used),
        )

    def _use(self, strategy: tf.distribute.Strategy, limits: tf.Tensor, power: float) -> tf.Tensor:
        """Writes the weights of the forward pass into the variables."""
        weights, dense = [each.weight for each in self._targets], [_dense(each) for each in self._targets]
        self._update(strategy, weights, dense, self._used_limits(limits), self._used_by(power))
        return tf.constant(True)

    def _used_limits(self, limits: tf.Tensor) -> tf.Tensor:
        """Returns the limits, 0 for layers after their final pruning step, whose dense weights are used directly."""
        finished = tf.stack([each.wrapper.cut.read_value() for each in self._targets])
        return tf.where(finished, 0.0, limits)

    @staticmethod
    def _used_by(power: float) -> Callable[..., list[tf.Tensor]]:
        return lambda dense, pooled, limits: used_weights(dense, pooled, limits, power)


def _dense(target: Target) -> tf.Variable:
    if target.dense is None:
        raise RuntimeError(f"The forward form needs a dense copy of each weight. Received: {target.weight.name!r}")
    return target.dense


def weight_pool_of(model: Any) -> WeightPool:
    """Returns the pool of a model of `prune_selective_decay`, in the form of its schedule's penalty.

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
    """Returns the weights of the forward pass, e(θ) of `ForwardPool`, for dense weights θ; fused by XLA.

    Args:
      dense: θ, tensors of any shape and float dtype.
      pooled: |θ| of each pooled over its blocks, or None for weights without blocks.
      limits: float32 vector, T for each; entries below T become zero, those at T are kept.
      power: p; infinity does not shrink the entries that are kept.

    >>> theta = tf.constant([-3.0, 1.0, 2.0])
    >>> used_weights([theta], [None], tf.constant([1.5]), 1.0)[0].numpy().round(3).tolist()
    [-1.5, 0.0, 0.5]
    """
    # The float before T, as the entry at T would become zero too and the number of zeros be one too high.
    one = np.uint32(1)
    thresholds = bits_to_float(tf.maximum(magnitude_bits(limits), one) - one)
    found = []
    for place, (value, own) in enumerate(zip(dense, pooled, strict=True)):
        threshold = thresholds[place]
        size = tf.abs(tf.cast(value, tf.float32)) if own is None else own
        factor = tf.ones_like(size)
        if not math.isinf(power):
            factor = (1.0 - (threshold / tf.maximum(size, threshold)) ** power) ** (1.0 / power)
            # 0 / 0, where nothing is pruned yet.
            factor = tf.where(threshold > 0.0, factor, 1.0)
        found.append(tf.where(is_kept(size, limits[place]), value * tf.cast(factor, value.dtype), tf.zeros_like(value)))
    return found

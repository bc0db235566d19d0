"""All prunable weights of one model under one schedule: one clock, one threshold, one cut.

The pool works once for each optimizer update, in graph, at the first wrapped layer that the forward
pass reaches: so it holds for `model.fit`, for custom loops, for several steps in one call and under
`tf.distribute`. It owns no variables: its state lives in its first wrapper and is saved with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd import optimizers
from tfmot_swd.pruning_wrapper import collect_wrappers
from tfmot_swd.schedules import SelectiveDecay
from tfmot_swd.strength import DecayStrength
from tfmot_swd.thresholds import (
    bits_to_float,
    concat_magnitude_bits,
    magnitude_bits,
    select_bits_near,
)
from tfmot_swd.wrappers import PruneSelectiveDecay


class WeightPool:
    """Joins the wrappers of a model; `join` puts them under an optimizer when training begins.

    Args:
      wrappers: the model's wrappers in call order; the first one that is trainable leads.
      strategy: the `tf.distribute.Strategy` under which the model was built.

    Raises:
      ValueError: no wrapper is trainable, or their schedules differ.
    """

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        self.wrappers = tuple(wrapper for wrapper in wrappers if wrapper.trainable)
        if not self.wrappers:
            raise ValueError(
                "No wrapped layer is trainable, so nothing can be pruned: set layer.trainable = True "
                f"on some. Received: {len(wrappers)} wrapped layers, all frozen."
            )
        schedules = {wrapper.pruning_schedule for wrapper in self.wrappers}
        if len(schedules) > 1:
            raise ValueError(
                "All layers of a model are pruned under one global threshold, so their schedules must "
                f"be equal: wrap them in one call. Received: {schedules}"
            )
        self.strategy = strategy
        self.leader = self.wrappers[0]
        self.schedule: SelectiveDecay = self.leader.pruning_schedule
        self.size = sum(int(np.prod(weight.shape)) for weight in self.counted())
        self._strength: DecayStrength | None = None

    @classmethod
    def of(cls, model: Any) -> WeightPool:
        """Returns the pool of a wrapped model.

        Raises:
          ValueError: the model has no wrapper of `prune_selective_decay`.
        """
        wrappers = collect_wrappers(model, PruneSelectiveDecay)
        if not wrappers:
            raise ValueError(
                "The model has no wrapped layers: make it with tfmot_swd.prune_selective_decay first. "
                f"Received: {getattr(model, 'name', model)!r}"
            )
        return cls(wrappers, model.distribute_strategy)

    def join(self, optimizer: Any) -> None:
        """Links the wrappers to this pool and the optimizer, whose updates are the clock from now on.

        Raises:
          ValueError: the strength multiplies a weight decay and there is none.
        """
        self._strength = DecayStrength.of(self.schedule, optimizer, self.wrappers)
        for wrapper in self.wrappers:
            wrapper.join(self, coupled=self._strength.coupled)
        # Another wrapper may have led before, where the first one was frozen or set free since.
        latest = max(self.wrappers, key=lambda wrapper: int(wrapper.pruning_step.numpy()))
        with self.strategy.scope():
            self._copy_clock(latest, self.leader)
            # The first forward pass of a fit always begins an update, whatever was saved.
            self.leader.last_iterations.assign(-1)

    def leave(self) -> None:
        """Unlinks the wrappers; a training function that is traced without the callback is an error then."""
        with self.strategy.scope():
            for wrapper in self.wrappers[1:]:
                self._copy_clock(self.leader, wrapper)
        for wrapper in self.wrappers:
            wrapper.join(None)

    @property
    def strength(self) -> DecayStrength:
        """The resolved strength; only a pool that has joined an optimizer has one."""
        if self._strength is None:
            raise RuntimeError("WeightPool.join comes first. Received: a pool without optimizer.")
        return self._strength

    @property
    def step(self) -> int:
        """The number of updates begun since the model was wrapped."""
        return int(self.leader.pruning_step.numpy())

    @property
    def is_cut(self) -> bool:
        """Whether the final cut has been made."""
        return bool(self.leader.cut.numpy())

    def counted(self) -> list[tf.Variable]:
        """Returns the variables that the rate counts."""
        return [weight for wrapper in self.wrappers for weight in wrapper.prunable_weights[: wrapper.counted]]

    def targets(self) -> list[tuple[tf.Variable, tf.Variable]]:
        """Returns (weight, mask) of every variable that may be decayed and cut."""
        return [(weight, mask) for wrapper in self.wrappers for weight, mask, _ in wrapper.pruning_vars]

    def advance(self) -> None:
        """Makes the pool's part of one update; does nothing when called again in the same update."""
        replica = tf.distribute.get_replica_context()
        if replica is None:
            self._advance(self.strategy)
        else:
            replica.merge_call(self._advance)

    def decay(self) -> None:
        """Decays the targeted weights once more, with the strength of where the clock stands."""
        with self.strategy.scope():
            step = self.leader.pruning_step.read_value()
            threshold = self._refresh(self.strategy, step)
            self._decay(self.strategy, self.strength.shrink(step), threshold)

    def finish(self) -> None:
        """Makes the final cut now: what lies below the threshold of the final rate becomes zero."""
        with self.strategy.scope():
            self._cut(self.strategy)

    def apply_masks(self) -> None:
        """Sets to zero again what the optimizer has moved since the cut."""
        with self.strategy.scope():
            self._mask(self.strategy)

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, in float32."""
        # The pool has begun this update: the step it is in is one less than the count of updates begun.
        step = self.leader.pruning_step.read_value() - 1
        active = self._is_active(step)
        bits = magnitude_bits(self.leader.threshold.read_value())
        total = tf.zeros([])
        for weight in wrapper.prunable_weights:
            value = tf.cast(weight, tf.float32)
            total += tf.nn.l2_loss(tf.where(magnitude_bits(value) < bits, value, 0.0))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    @staticmethod
    def _copy_clock(source: PruneSelectiveDecay, target: PruneSelectiveDecay) -> None:
        target.pruning_step.assign(source.pruning_step.numpy())
        target.threshold.assign(source.threshold.numpy())

    def _is_active(self, step: tf.Tensor) -> tf.Tensor:
        return (step >= self.schedule.begin_step) & (step < self.schedule.end_step)

    def _advance(self, strategy: tf.distribute.Strategy) -> None:
        now = optimizers.iterations(self.strength.optimizer).read_value()
        begun = self.leader.pruning_step.read_value()
        is_new = tf.not_equal(now, self.leader.last_iterations.read_value())
        # A second call within an update repeats its step, with a decay that changes nothing.
        step = begun - tf.cast(~is_new, begun.dtype)
        # The cut may have been made before its time, by cut_now.
        over = (step >= self.schedule.end_step) | self.leader.cut.read_value()
        tf.cond(
            over,
            lambda: self._after_end(strategy),
            lambda: self._before_end(strategy, step, is_new),
        )
        _assign(strategy, self.leader.pruning_step, step + 1)
        _assign(strategy, self.leader.last_iterations, now)

    def _before_end(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> tf.Tensor:
        def act() -> tf.Tensor:
            threshold = self._refresh(strategy, step)
            if not self.strength.coupled:
                self._decay(strategy, tf.where(is_new, self.strength.shrink(step), 0.0), threshold)
            return tf.constant(True)

        if self.schedule.begin_step == 0:
            return act()
        return tf.cond(self._is_active(step), act, lambda: tf.constant(False))

    def _after_end(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        return tf.cond(
            self.leader.cut.read_value(),
            lambda: self._mask(strategy),
            lambda: self._cut(strategy),
        )

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns the threshold's bits: computed anew, or as they were between two refreshes."""

        def compute() -> tf.Tensor:
            bits = self._threshold_bits(self.schedule.sparsity(step))
            _assign(strategy, self.leader.threshold, bits_to_float(bits))
            return bits

        if self.schedule.frequency == 1:
            return compute()
        due = self.schedule(step)[0]
        return tf.cond(due, compute, lambda: magnitude_bits(self.leader.threshold.read_value()))

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

        weights = [weight for weight, _ in self.targets()]
        if strategy.num_replicas_in_sync == 1:
            values = _shrunk([weight.read_value() for weight in weights], bits, factor)
            for weight, value in zip(weights, values, strict=True):
                weight.assign(value)
            return
        for weight in weights:
            strategy.extended.update(weight, shrink, args=(bits, factor))

    def _cut(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        final = tf.constant(self.schedule.final_sparsity, tf.float64)
        bits = self._threshold_bits(final)

        def set_mask(mask: tf.Variable, weight: tf.Tensor) -> Any:
            return mask.assign(tf.cast(magnitude_bits(weight) >= bits, mask.dtype))

        for weight, mask in self.targets():
            strategy.extended.update(mask, set_mask, args=(weight,))
        _assign(strategy, self.leader.threshold, bits_to_float(bits))
        for wrapper in self.wrappers:
            _assign(strategy, wrapper.cut, tf.constant(True))
        return self._mask(strategy)

    def _mask(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        def apply(weight: tf.Variable, mask: tf.Tensor) -> Any:
            # A product would turn an infinite weight into NaN.
            return weight.assign(tf.where(mask > 0, weight, tf.zeros_like(weight)))

        for weight, mask in self.targets():
            strategy.extended.update(weight, apply, args=(mask,))
        return tf.constant(True)


@tf.function(jit_compile=True)
def _shrunk(values: Sequence[tf.Tensor], bits: tf.Tensor, factor: tf.Tensor) -> list[tf.Tensor]:
    """Returns w · factor where |w| is below the threshold, w elsewhere; all tensors in one fused pass."""
    shrunk = []
    for value in values:
        wide = tf.cast(value, tf.float32)
        shrunk.append(tf.where(magnitude_bits(wide) < bits, tf.cast(wide * factor, value.dtype), value))
    return shrunk


def _assign(strategy: tf.distribute.Strategy, variable: tf.Variable, value: tf.Tensor) -> None:
    strategy.extended.update(variable, lambda var, new: var.assign(new), args=(value,))

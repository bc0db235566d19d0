"""Pool of methods that prune by masks: chosen at the updates that a schedule names, applied at every update."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tfmot_swd.keras2.layer_weights import elements
from tfmot_swd.pruning.magnitude_bits import magnitude_bits
from tfmot_swd.pruning.mask_wrapper import MaskWrapper
from tfmot_swd.pruning.pool import PruningPool
from tfmot_swd.pruning.thresholds import kth_magnitude, needs_static_shapes
from tfmot_swd.pruning.wrapped_models import assign

# An update that no training makes.
_FAR = 2**31 - 2

Wrapper = TypeVar("Wrapper", bound=MaskWrapper)


class MaskPool(PruningPool[Wrapper]):
    """Base of pools that prune by masks; see `PruningPool`.

    Before the forward pass of each update masks are chosen, if that is due, and the masked weights are set to zero. A
    method derives from it and defines `is_due`, `choose` and `end`.
    """

    @abc.abstractmethod
    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        """Returns whether masks are chosen before this update, a bool scalar; in graph.

        Args:
          step: int64 scalar, the index of the update.
        """

    @abc.abstractmethod
    def choose(self, step: tf.Tensor) -> list[tf.Tensor]:
        """Returns a mask for each weight of `weights()`, in its shape and dtype, 0 where it is pruned; in graph.

        Args:
          step: int64 scalar, the index of the update; that of the end of the schedule for `prune_now`.
        """

    @abc.abstractmethod
    def end(self) -> int | None:
        """Returns the index of the last update at which masks are chosen; None for a schedule without an end."""

    def global_masks(self, sparsity: tf.Tensor | float) -> list[tf.Tensor]:
        """Returns masks of the smallest weights of the whole model, under one threshold; in graph.

        Of N weights N - int(sparsity · N) stay, and more where magnitudes tie.

        Args:
          sparsity: share of all weights to set to zero, in [0, 1).
        """
        ranked = [wrapper.ranked(weight) for wrapper in self.wrappers for weight, _, _ in wrapper.pruning_vars]
        count = tf.cast(tf.cast(sparsity, tf.float64) * elements(self.weights()), tf.int32)
        threshold = magnitude_bits(kth_magnitude(ranked, count, static=needs_static_shapes(self.weights()[0])))
        return [tf.cast(magnitude_bits(each) >= threshold, tf.float32) for each in ranked]

    def are_due(self, step: tf.Tensor) -> list[tf.Tensor]:
        """Returns for each wrapper whether its masks are chosen before this update; by default all where any are."""
        return [self.is_due(step)] * len(self.wrappers)

    def weights(self) -> list[tf.Variable]:
        """Returns the weights that are pruned, without those of frozen layers."""
        return [weight for wrapper in self.wrappers for weight, _, _ in wrapper.pruning_vars]

    def masks(self) -> list[tf.Variable]:
        """Returns the variables of the masks, in the order of `weights()`."""
        return [mask for wrapper in self.wrappers for _, mask, _ in wrapper.pruning_vars]

    @property
    def is_pruned(self) -> bool:
        """Whether masks have been chosen, of all layers."""
        return all(bool(wrapper.chosen.numpy()) for wrapper in self.wrappers)

    def finish(self) -> None:
        """Prunes to the final rate of the schedule at once."""
        end = self.end()
        # Of a schedule without an end: what it asks for in the long run.
        last = _FAR if end is None else max(end, self.step)
        with self.strategy.scope():
            # Also of layers whose schedule has ended before the others'.
            self._choose(self.strategy, tf.constant(last, tf.int64), [tf.constant(True)] * len(self.wrappers))
            self._mask(self.strategy)

    def _act(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> None:
        tf.cond(
            self.is_due(step) & is_new,
            lambda: self._choose(strategy, step, self.are_due(step)),
            lambda: tf.constant(True),
        )
        self._mask(strategy)

    def _choose(self, strategy: tf.distribute.Strategy, step: tf.Tensor, due: Sequence[tf.Tensor]) -> tf.Tensor:
        def replace(variable: tf.Variable, mask: tf.Tensor, is_due: tf.Tensor) -> Any:
            return variable.assign(tf.where(is_due, tf.cast(mask, variable.dtype), variable))

        each_due = [is_due for wrapper, is_due in zip(self.wrappers, due, strict=True) for _ in wrapper.pruning_vars]
        for variable, mask, is_due in zip(self.masks(), self.choose(step), each_due, strict=True):
            strategy.extended.update(variable, replace, args=(mask, is_due))
        for wrapper, is_due in zip(self.wrappers, due, strict=True):
            assign(strategy, wrapper.chosen, wrapper.chosen.read_value() | is_due)
        return tf.constant(True)

"""Updates that a LossScaleOptimizer counts and does not make, because the scaled gradient has overflowed."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.pruning.wrapped_models import assign
from tfmot_swd.pruning.wrapper import PruningWrapper


class SkippedUpdates:
    """Tells in graph, when an update begins, whether the one before was skipped; counts them.

    Keras moves `optimizer.iterations` for them too. What tells is the number of finite updates in a row, which begins
    again at 0, where the scale of the loss has not grown: at 1 it cannot become smaller.

    Args:
      optimizer: of the training; only a LossScaleOptimizer with a dynamic scale skips.
      leader: the wrapper that keeps the variables, in no file: a training step that was traced for an earlier pool goes
        on writing to them.

    Attributes:
      possible: whether the optimizer may skip updates.
    """

    def __init__(self, optimizer: Any, leader: PruningWrapper) -> None:
        self.possible = bool(getattr(optimizer, "dynamic", False))
        self._optimizer = optimizer
        if not self.possible:
            return
        kept = vars(leader.unsaved)
        if "loss_scale" not in kept:
            kept["loss_scale"] = tf.Variable(0.0, trainable=False)
            kept["seen"] = tf.Variable(-1, dtype=tf.int64, trainable=False)
            kept["skipped"] = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._scale, self._seen, self._count = kept["loss_scale"], kept["seen"], kept["skipped"]
        self._seen.assign(-1)
        self._count.assign(0)

    def begin_update(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        """Returns whether the update before the one that begins was skipped; false when called in it again."""
        if not self.possible:
            return tf.constant(False)
        skipped = self.last()
        assign(strategy, self._count, self._count.read_value() + tf.cast(skipped, tf.int64))
        assign(strategy, self._seen, optimizers.iterations(self._optimizer).read_value())
        assign(strategy, self._scale, optimizers.loss_scale(self._optimizer))
        return skipped

    def count(self) -> int:
        """Returns how many were skipped since the wrappers were joined, the last one included."""
        return int(self._count.numpy()) + int(self.last().numpy()) if self.possible else 0

    def last(self) -> tf.Tensor:
        """Returns whether the update that has begun last was skipped, a bool scalar; false before it is made."""
        if not self.possible:
            return tf.constant(False)
        seen = self._seen.read_value()
        made = tf.not_equal(optimizers.iterations(self._optimizer).read_value(), seen) & tf.not_equal(seen, -1)
        began_again = tf.equal(tf.cast(self._optimizer.dynamic_counter.read_value(), tf.int64), 0)
        return made & began_again & (optimizers.loss_scale(self._optimizer) <= self._scale.read_value())

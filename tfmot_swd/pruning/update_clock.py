"""Optimizer updates as the clock of a pruning: updates skipped under a loss scale, and the check of the optimizer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.weight_values import pieces
from tfmot_swd.pruning.wrapped_models import assign
from tfmot_swd.pruning.wrapper import PruningWrapper


class SkippedUpdates:
    """Detects and counts, in graph, the updates that a LossScaleOptimizer skips because the scaled gradient overflows.

    Keras increments `optimizer.iterations` for skipped updates too. They show in the number of consecutive finite
    updates, which starts again at 0 although the loss scale has not grown; the scale itself does not tell, as it never
    falls below 1.

    Args:
      optimizer: of the training; only a LossScaleOptimizer with a dynamic scale skips updates.
      leader: the wrapper that keeps the variables, outside of any file: a training step that was traced for an earlier
        pool still writes to them.

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
        """Returns whether the previous update was skipped, a bool scalar; False if called again in the same one."""
        if not self.possible:
            return tf.constant(False)
        skipped = self.last()
        assign(strategy, self._count, self._count.read_value() + tf.cast(skipped, tf.int64))
        assign(strategy, self._seen, optimizers.iterations(self._optimizer).read_value())
        assign(strategy, self._scale, optimizers.loss_scale(self._optimizer))
        return skipped

    def count(self) -> int:
        """Returns the number of updates skipped since the wrappers were joined, the last one included."""
        return int(self._count.numpy()) + int(self.last().numpy()) if self.possible else 0

    def last(self) -> tf.Tensor:
        """Returns whether the update that began last was skipped, a bool scalar; False until it has been made."""
        if not self.possible:
            return tf.constant(False)
        seen = self._seen.read_value()
        made = tf.not_equal(optimizers.iterations(self._optimizer).read_value(), seen) & tf.not_equal(seen, -1)
        began_again = tf.equal(tf.cast(self._optimizer.dynamic_counter.read_value(), tf.int64), 0)
        return made & began_again & (optimizers.loss_scale(self._optimizer) <= self._scale.read_value())


class OptimizerCheck:
    """Check that the optimizer whose updates are counted is the one that trains the wrapped layers.

    Custom training steps and generative adversarial networks have optimizers other than `model.optimizer`: the step
    counter of the pruning would stand still, or count the updates of other layers. The check runs after batches and
    epochs until it is settled, mostly after the first batch.

    An optimizer that has made updates knows the variables it was built for. Before that the weights are compared: they
    are unchanged where gradients are accumulated over many batches, and change where another optimizer trains them.

    Args:
      optimizer: its updates are the clock.
      weights: variables that are pruned.
      models: may hold other optimizers; the error names the right one.
    """

    def __init__(self, optimizer: Any, weights: Sequence[Any], models: Sequence[Any]) -> None:
        self._optimizer, self._weights, self._models = optimizer, list(weights), models
        self._passed = False
        self._batches = 0
        self._begun_at = self._updates()
        self._others_at = {id(each.optimizer): _count(each.optimizer) for each in self._others()}
        self._first = self._last = self._checksums()

    def after_batch(self) -> None:
        """Checks the weights and the optimizer after a batch.

        Raises:
          ValueError: another optimizer trains the weights.
        """
        if self._passed or self._has_updated():
            return
        now = self._checksums()
        # In the first batch the decay changes weights as well.
        if self._batches and now != self._last:
            raise ValueError(self._message())
        self._batches, self._last = self._batches + 1, now

    def after_epoch(self) -> None:
        """Checks the weights and the optimizer after an epoch, for loops that report no batches.

        Raises:
          ValueError: another optimizer trains the weights.
        """
        if self._passed or self._has_updated():
            return
        # After two batches without a change, gradients are being accumulated.
        if self._batches < 2 and self._checksums() != self._first:
            raise ValueError(self._message())

    def _has_updated(self) -> bool:
        if self._updates() == self._begun_at:
            return False
        if optimizers.trains(self._optimizer, self._weights) is False:
            raise ValueError(self._message())
        self._passed = True
        return True

    def _updates(self) -> int:
        return _count(self._optimizer)

    def _checksums(self) -> list[int]:
        return [_checksum(weight) for weight in self._weights]

    def _others(self) -> list[optimizers.HeldOptimizer]:
        return [each for each in optimizers.held_optimizers(*self._models) if each.optimizer is not self._optimizer]

    def _message(self) -> str:
        """Returns the error message, which names the optimizer that trains the weights if a model holds it."""
        moved = [each for each in self._others() if _count(each.optimizer) != self._others_at.get(id(each.optimizer))]
        right = [each for each in moved if optimizers.trains(each.optimizer, self._weights) is not False]
        name = f"model.{right[0].attribute}" if right else "optimizer"
        found = f"; they are trained by {', '.join(map(str, right))}" if right else ""
        return (
            "The wrapped layers are not trained by the optimizer whose updates the pruning schedule counts, so they "
            "would not be pruned as scheduled: apply their gradients with model.optimizer, "
            f"or pass the optimizer that does so, tfmot_swd.UpdatePruningStep(optimizer={name}). Received: "
            f"{type(self._optimizer).__name__} as the clock, with {self._updates() - self._begun_at} updates in this "
            f"training, none of the wrapped layers{found}"
        )


def _checksum(weight: Any) -> int:
    found = 0
    for (piece,) in pieces(weight):
        # Arrays of bfloat16 do not lend their bytes.
        found = zlib.crc32(piece.tobytes(), found)
    return found


def _count(optimizer: Any) -> int:
    return int(optimizers.iterations(optimizer).numpy())

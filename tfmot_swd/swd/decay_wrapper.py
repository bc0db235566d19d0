"""What the wrappers of both forms of Selective Weight Decay have in common."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfmot_swd.pruning.wrapper import PruningWrapper

if TYPE_CHECKING:
    from tfmot_swd.swd.pool import DecayPool


class DecayWrapper(PruningWrapper):
    """A wrapper whose weights a `DecayPool` decays and, in the end, cuts.

    Variables of its own, beside those of a subclass: `cut` (bool), whether the final cut has been made.
    """

    missing_callback = (
        "This model is wrapped for Selective Weight Decay and trains only with its callback: pass "
        "callbacks=[tfmot_swd.UpdatePruningStep()] to model.fit (TFMOT's own UpdatePruningStep does not "
        "do), or call its set_model and on_train_begin before a custom training loop. "
        "Received: a training step without it."
    )

    def _add_clock(self) -> None:
        super()._add_clock()
        self.cut = self._add_state("cut", [], tf.bool)

    def join(self, pool: DecayPool[Any] | None, coupled: bool = False) -> None:
        """Puts the wrapper under a pool (None: under none); `coupled` adds its penalty to the loss."""
        self._pool = pool
        if coupled and not self._callable_losses:
            self.add_loss(functools.partial(self._penalty))

    def masked_weights(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Returns (weight, mask that broadcasts to it) of what the cut may set to zero; zero where it has."""
        return [(weight, mask.read_value()) for weight, mask, _ in self.pruning_vars]

    @tf.autograph.experimental.do_not_convert
    def _penalty(self) -> tf.Tensor:
        """This layer's share of the coupled penalty; zero outside training, so val_loss stays clean."""
        if self._pool is None or not self._in_training_call:
            return tf.zeros([])
        if not self._pool.strength.coupled:
            # With penalty="auto" the model may have been recompiled from SGD to Adam since.
            return tf.zeros([])
        return self._pool.penalty(self)

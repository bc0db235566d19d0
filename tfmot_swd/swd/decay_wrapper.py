"""Base of the wrappers of Selective Weight Decay, of weights and of channels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Self

import tensorflow as tf

from tfmot_swd.pruning.wrapper import PruningWrapper


class DecayWrapper(PruningWrapper):
    """A wrapper whose weights a `DecayPool` decays and prunes at the end of the schedule.

    Variables, beside those of a subclass: `cut` (bool), whether the final pruning step has been made.
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

    def join(self, pool: Any) -> None:
        super().join(pool)
        if pool is not None and pool.strength.coupled and not self._callable_losses:
            self.add_loss(functools.partial(self._penalty))

    @classmethod
    def unfinished(cls, wrappers: Sequence[Self]) -> str | None:
        dense = [wrapper for wrapper in wrappers if not bool(wrapper.cut.numpy())]
        # A layer that was frozen at the final pruning step is meant to be dense; a model frozen later is not.
        if len(dense) < len(wrappers) and not any(wrapper.takes_part() for wrapper in dense):
            return None
        done = max(int(wrapper.pruning_step.numpy()) for wrapper in wrappers)
        schedule, unfrozen = wrappers[0].pruning_schedule, ""
        if len(dense) < len(wrappers) or (schedule.has_end and done >= schedule.end_step):
            unfrozen = (
                "Where layers have been unfrozen: Keras trains those that were trainable when the model was compiled, "
                "so compile it after setting layer.trainable, and fit then. "
            )
        return (
            "The final pruning step has not been made, so this model is not pruned: train on until end_step, or "
            "call tfmot_swd.prune_now(model). ModelCheckpoint(save_best_only=True) and EarlyStopping with "
            "restore_best_weights=True are frequent causes: they keep weights from before the final step, when the "
            "model is better and not pruned; with tfmot_swd.AfterPruning(callback) they compare pruned models alone. "
            f"{unfrozen}Received: {done} of {schedule.length} made"
        )

    @tf.autograph.experimental.do_not_convert
    def _penalty(self) -> tf.Tensor:
        """Returns this layer's part of the coupled penalty; 0 outside training, so that val_loss lacks it."""
        if self._pool is None or not self._in_training_call:
            return tf.zeros([])
        if not self._pool.strength.coupled:
            # With penalty="auto" the model may have been recompiled from SGD to Adam since.
            return tf.zeros([])
        return self._pool.penalty(self)

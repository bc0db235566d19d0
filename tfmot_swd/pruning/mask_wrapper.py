"""Wrapper of methods that prune by masks: one mask for each prunable weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import tensorflow as tf

from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.wrapper import PruningWrapper


class MaskWrapper(PruningWrapper):
    """Base of wrappers that prune single weights by masks of the weights' shapes.

    A method derives from it, registers the class with Keras, and returns its prunable weights in `weights_to_prune`.
    A `MaskPool` chooses and applies the masks.

    Variables: a mask for each weight (ones until one is chosen), `threshold` (float32), `pruning_step` (int64, updates
    begun), `last_iterations` (int64) and `chosen` (bool), whether masks have been chosen.
    """

    missing_callback = (
        "This model is wrapped for pruning and trains only with its callback: pass "
        "callbacks=[tfmot_swd.UpdatePruningStep()] to model.fit (TFMOT's own UpdatePruningStep does not do), or call "
        "its set_model and on_train_begin before a custom training loop. Received: a training step without it."
    )

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        weights = [master_variable(weight) for weight in self.weights_to_prune()]
        masks = self._add_like("mask", weights, "ones")
        self._add_clock()
        self.chosen = self._add_state("chosen", [], tf.bool)
        self._set_pruning_vars(weights, masks)

    def weights_to_prune(self) -> Sequence[Any]:
        """Returns the weights of the built layer that get a mask; by default those that a pruning rate counts."""
        found: Sequence[Any] = counted_weights(self.layer)
        return found

    def ranked(self, weight: Any) -> Any:
        """Returns the values whose magnitudes rank the entries of a weight under a global threshold."""
        return weight.read_value()

    @classmethod
    def unfinished(cls, wrappers: Sequence[Self]) -> str | None:
        waiting = [each for each in wrappers if not bool(each.chosen.numpy())]
        # A layer that is frozen stays dense.
        if len(waiting) < len(wrappers) and not any(each.takes_part() for each in waiting):
            return None
        done = max(int(each.pruning_step.numpy()) for each in wrappers)
        return (
            "Layers have not been pruned yet, as their schedule was due at no update: train beyond its begin_step, "
            "with a frequency that is less than the updates of the training (TFMOT's default is 100), and with "
            "callbacks=[tfmot_swd.UpdatePruningStep()]; or call tfmot_swd.prune_now(model). "
            f"Received: {done} updates made, {', '.join(each.layer.name for each in waiting)} not pruned"
        )

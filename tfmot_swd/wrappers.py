"""The TFMOT wrapper of a layer whose weights Selective Weight Decay acts on."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfmot_swd._compat import keras, master_variable
from tfmot_swd.prunable import counted_weights, target_weights
from tfmot_swd.pruning_wrapper import PruningWrapper
from tfmot_swd.schedules import SelectiveDecay

if TYPE_CHECKING:
    from tfmot_swd.weight_pool import WeightPool

MISSING_CALLBACK = (
    "This model is wrapped for Selective Weight Decay and trains only with its callback: pass "
    "callbacks=[tfmot_swd.UpdatePruningStep()] to model.fit (TFMOT's own UpdatePruningStep does not "
    "do), or call its set_model and on_train_begin before a custom training loop. "
    "Received: a training step without it."
)


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneSelectiveDecay(PruningWrapper):
    """Wraps a layer as `PruneLowMagnitude` does, and leaves every global decision to a `WeightPool`.

    `prune_selective_decay` puts it on; use that. Nothing is touched while nothing is targeted, and masks stay ones
    until the final cut.

    Variables of its own: a mask for each target (ones until the cut), `threshold` (float32),
    `pruning_step` (int64, updates begun), `last_iterations` (int64) and `cut` (bool).

    Args:
      layer: any Keras layer that `tfmot_swd.prunable` knows, or a `PrunableLayer`.
      pruning_schedule: the `SelectiveDecay` that all wrappers of a model share.
    """

    def __init__(self, layer: Any, pruning_schedule: SelectiveDecay, **kwargs: Any) -> None:
        if not isinstance(pruning_schedule, SelectiveDecay):
            raise TypeError(
                "PruneSelectiveDecay needs a tfmot_swd.SelectiveDecay schedule; other TFMOT schedules "
                "go with tfmot.sparsity.keras.prune_low_magnitude. "
                f"Received: {type(pruning_schedule).__name__}"
            )
        super().__init__(layer, pruning_schedule, **kwargs)
        self._pool: WeightPool | None = None
        self.counted = 0

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        weights = [master_variable(weight) for weight in target_weights(self.layer, self.pruning_schedule.targets)]
        self.counted = len(counted_weights(self.layer))
        masks = [
            self.add_weight(
                "mask" if index == 0 else f"mask_{index}",
                shape=weight.shape,
                dtype=weight.dtype,
                initializer="ones",
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for index, weight in enumerate(weights)
        ]
        self._add_clock()
        self.cut = self._add_scalar("cut", tf.bool, False)
        self._set_pruning_vars(weights, masks)

    def join(self, pool: WeightPool | None, coupled: bool = False) -> None:
        """Puts the wrapper under a pool (None: under none); `coupled` adds its penalty to the loss."""
        self._pool = pool
        if coupled and not self._callable_losses:
            self.add_loss(functools.partial(self._penalty))

    def _advance(self) -> tf.Tensor:
        # A layer frozen after wrapping belongs to no pool, and is left as it is.
        if self._pool is None and self.trainable:
            raise ValueError(MISSING_CALLBACK)
        if self._pool is not None and self._pool.leader is self:
            self._pool.advance()
        return tf.constant(True)

    def _penalty(self) -> tf.Tensor:
        """This layer's share of the coupled penalty; zero outside training, so val_loss stays clean."""
        if self._pool is None or not self._in_training_call:
            return tf.zeros([])
        if not self._pool.strength.coupled:
            # With penalty="auto" the model may have been recompiled from SGD to Adam since.
            return tf.zeros([])
        return self._pool.penalty(self)

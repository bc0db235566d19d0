"""The TFMOT wrapper of a layer whose weights Selective Weight Decay acts on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd._compat import keras, master_variable
from tfmot_swd.block_magnitudes import Blocks
from tfmot_swd.decay_wrapper import DecayWrapper
from tfmot_swd.prunable import counted_weights, target_weights
from tfmot_swd.schedules import SelectiveDecay


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneSelectiveDecay(DecayWrapper):
    """Wraps a layer as `PruneLowMagnitude` does, and leaves every global decision to a `WeightPool`.

    `prune_selective_decay` puts it on; use that. Nothing is touched while nothing is targeted, and masks stay ones
    until the final cut.

    Variables of its own: a mask for each target (ones until the cut), with penalty="forward" a dense copy of each
    (zeros before the first update), `threshold` (float32), `pruning_step` (int64, updates begun), `last_iterations`
    (int64) and `cut` (bool).

    Args:
      layer: any Keras layer that `tfmot_swd.prunable` knows, or a `PrunableLayer`.
      pruning_schedule: the `SelectiveDecay` that all wrappers of a model share.
      block_size, block_pooling_type: which weights stand or fall together, as in `prune_selective_decay`.
    """

    def __init__(
        self,
        layer: Any,
        pruning_schedule: SelectiveDecay,
        block_size: tuple[int, int] = (1, 1),
        block_pooling_type: str = "AVG",
        **kwargs: Any,
    ) -> None:
        if not isinstance(pruning_schedule, SelectiveDecay):
            raise TypeError(
                "PruneSelectiveDecay needs a tfmot_swd.SelectiveDecay schedule; other TFMOT schedules "
                "go with tfmot.sparsity.keras.prune_low_magnitude. "
                f"Received: {type(pruning_schedule).__name__}"
            )
        self.blocks = Blocks(block_size, block_pooling_type)
        super().__init__(layer, pruning_schedule, **kwargs)
        # TFMOT's own names for the two.
        self.block_size, self.block_pooling_type = self.blocks.size, self.blocks.pooling
        self.counted = 0

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        weights = [master_variable(weight) for weight in target_weights(self.layer, self.pruning_schedule.targets)]
        self.counted = len(counted_weights(self.layer))
        masks = self._like("mask", weights, "ones")
        if self.pruning_schedule.is_forward:
            self._set_dense(weights, self._like("dense", weights, "zeros"))
        self._add_clock()
        self._set_pruning_vars(weights, masks)

    def _like(self, name: str, weights: Sequence[Any], initializer: str) -> list[Any]:
        """Adds a variable for each weight, of its shape, that is saved with the layer and not trained."""
        return [
            self.add_weight(
                name if index == 0 else f"{name}_{index}",
                shape=weight.shape,
                dtype=weight.dtype,
                initializer=initializer,
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for index, weight in enumerate(weights)
        ]

    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _set_dense(self, weights: Sequence[Any], copies: Sequence[Any]) -> None:
        self._dense = {id(weight): copy for weight, copy in zip(weights, copies, strict=True)}

    def dense_of(self, weight: Any) -> tf.Variable:
        """Returns the dense copy of one of its weights, which the forward form has."""
        return self._dense[id(weight)]

    def pooled(self, weight: Any) -> tf.Tensor | None:
        """Returns for each entry of a weight what is pooled of its block, float32; None where each is on its own."""
        return self.blocks.magnitudes(weight) if self.blocks.tie(weight.shape) else None

    def ranked(self, weight: Any) -> Any:
        """Returns what the entries of a weight are compared by, the sign aside."""
        pooled = self.pooled(weight)
        return weight if pooled is None else pooled

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"block_size": self.block_size, "block_pooling_type": self.block_pooling_type}

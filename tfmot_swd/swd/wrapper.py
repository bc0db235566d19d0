"""The TFMOT wrapper of a layer whose weights Selective Weight Decay acts on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras, master_variable
from tfmot_swd.layers.prunable import counted_weights, target_weights
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.pruning.wrapper import ChannelState
from tfmot_swd.swd.decay_wrapper import DecayWrapper
from tfmot_swd.swd.schedules import SelectiveDecay


@dataclasses.dataclass(frozen=True)
class Target:
    """One weight that a wrapper has decayed and cut.

    Args:
      wrapper: that it belongs to.
      weight: in full precision.
      mask: ones until the cut.
      counts: whether the rate counts it.
      index: its place among the weights of the wrapper.
      dense: its dense copy, in the forward form; None in others.
    """

    wrapper: PruneSelectiveDecay
    weight: tf.Variable
    mask: tf.Variable
    counts: bool
    index: int
    dense: tf.Variable | None = None


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneSelectiveDecay(DecayWrapper):
    """Wraps a layer as `PruneLowMagnitude` does, and leaves every global decision to a `WeightPool`.

    `prune_selective_decay` puts it on; use that. Nothing is touched while nothing is targeted, and masks stay ones
    until the final cut.

    Variables of its own: a mask for each target (ones until the cut), with penalty="forward" a dense copy of each
    (zeros before the first update) and what each is compared with (`limits`, float32), `threshold` (float32),
    `pruning_step` (int64, updates begun), `last_iterations` (int64) and `cut` (bool).

    Args:
      layer: any Keras layer that `tfmot_swd.layers.prunable` knows, or a `PrunableLayer`.
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
        self._set_dense(weights, self._like("dense", weights, "zeros") if self.pruning_schedule.is_forward else ())
        if self.pruning_schedule.is_forward:
            # What each weight is compared with; without it the dense copy could not be told from what is used.
            self.limits = self._add_state("limits", [len(weights)])
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
        self._dense = {id(weight): copy for weight, copy in zip(weights, copies, strict=False)}

    @property
    def dense_copies(self) -> list[tuple[Any, Any]]:
        """Each weight with its dense copy; empty but in the forward form."""
        return [(weight, self._dense[id(weight)]) for weight in self.prunable_weights if id(weight) in self._dense]

    def channel_states(self) -> list[ChannelState]:
        return super().channel_states() + [ChannelState(weight, dense) for weight, dense in self.dense_copies]

    def held_axes(self, layer: Any) -> list[tuple[Any, int]]:
        # Behind a channel that leaves every block of the weight would be torn.
        return [
            (master_variable(weight), len(weight.shape) - 2 + axis)
            for weight in counted_weights(layer)
            for axis, side in enumerate(self.blocks.size)
            if side > 1 and self.blocks.tie(weight.shape)
        ]

    def trained_targets(self) -> list[Target]:
        """Returns the targets that are trained as the model is now; frozen ones are left as they are."""
        trained = {id(master_variable(each)) for each in self.layer.trainable_weights}
        return [
            Target(self, weight, mask, index < self.counted, index, self._dense.get(id(weight)))
            for index, (weight, mask, _) in enumerate(self.pruning_vars)
            if id(weight) in trained
        ]

    def pooled(self, weight: Any) -> tf.Tensor | None:
        """Returns for each entry of a weight what is pooled of its block, float32; None where each is on its own."""
        return self.blocks.magnitudes(weight) if self.blocks.tie(weight.shape) else None

    def ranked(self, weight: Any) -> Any:
        """Returns what the entries of a weight are compared by, the sign aside."""
        pooled = self.pooled(weight)
        return weight if pooled is None else pooled

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"block_size": self.block_size, "block_pooling_type": self.block_pooling_type}

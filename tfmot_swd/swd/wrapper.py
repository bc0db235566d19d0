"""Wrapper of layers whose weights Selective Weight Decay prunes."""

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
    """One weight that is decayed and pruned.

    Args:
      wrapper: of the layer that owns it.
      weight: in full precision.
      mask: ones until the final pruning step.
      counts: whether the pruning rate counts it.
      index: its place among the weights of the wrapper.
      dense: its dense copy in the forward form; None in others.
    """

    wrapper: PruneSelectiveDecay
    weight: tf.Variable
    mask: tf.Variable
    counts: bool
    index: int
    dense: tf.Variable | None = None


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneSelectiveDecay(DecayWrapper):
    """Wraps a layer as TFMOT's `PruneLowMagnitude` does; a `WeightPool` decides for all wrappers of a model.

    Models are wrapped by `prune_selective_decay`. No weight changes while none is targeted, and masks are ones until
    the final pruning step.

    Variables: a mask for each target (ones until the final pruning step); with penalty="forward" a dense copy of each
    (zeros before the first update) and the thresholds that each is compared with (`limits`, float32); `threshold`
    (float32), `pruning_step` (int64, updates begun), `last_iterations` (int64) and `cut` (bool, whether the final
    pruning step has been made).

    Args:
      layer: any Keras layer that `tfmot_swd.layers.prunable` knows, or a `PrunableLayer`.
      pruning_schedule: the `SelectiveDecay`, shared by all wrappers of a model.
      block_size, block_pooling_type: blocks of weights that are pruned together, as in `prune_selective_decay`.

    Raises:
      TypeError: the schedule is not a `SelectiveDecay`.
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
        # TFMOT's names for the two.
        self.block_size, self.block_pooling_type = self.blocks.size, self.blocks.pooling
        self.counted = 0

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        weights = [master_variable(weight) for weight in target_weights(self.layer, self.pruning_schedule.targets)]
        self.counted = len(counted_weights(self.layer))
        masks = self._add_like("mask", weights, "ones")
        self._set_dense(weights, self._add_like("dense", weights, "zeros") if self.pruning_schedule.is_forward else ())
        if self.pruning_schedule.is_forward:
            # The threshold of each weight; without it the dense copy cannot be recovered from the variable.
            self.limits = self._add_state("limits", [len(weights)])
        self._add_clock()
        self._set_pruning_vars(weights, masks)

    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _set_dense(self, weights: Sequence[Any], copies: Sequence[Any]) -> None:
        self._dense = {id(weight): copy for weight, copy in zip(weights, copies, strict=False)}

    @property
    def dense_copies(self) -> list[tuple[Any, Any]]:
        """(weight, dense copy) of each weight in the forward form; empty in other forms."""
        return [(weight, self._dense[id(weight)]) for weight in self.prunable_weights if id(weight) in self._dense]

    def channel_states(self) -> list[ChannelState]:
        return super().channel_states() + [
            ChannelState(weight, dense, is_copy=True) for weight, dense in self.dense_copies
        ]

    def held_axes(self, layer: Any) -> list[tuple[Any, int]]:
        return self.blocks.axes_of(counted_weights(layer))

    def trained_targets(self) -> list[Target]:
        """Returns the targets that are trained as the model is now; frozen ones are not changed."""
        trained = self.trained_ids()
        return [
            Target(self, weight, mask, index < self.counted, index, self._dense.get(id(weight)))
            for index, (weight, mask, _) in enumerate(self.pruning_vars)
            if id(weight) in trained
        ]

    def pooled(self, weight: Any) -> tf.Tensor | None:
        """Returns for each entry of a weight the pooled |w| of its block, float32; None for a weight without blocks."""
        return self.blocks.magnitudes(weight) if self.blocks.tie(weight.shape) else None

    def ranked(self, weight: Any) -> Any:
        """Returns the values whose magnitudes rank the entries of a weight."""
        pooled = self.pooled(weight)
        return weight if pooled is None else pooled

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"block_size": self.block_size, "block_pooling_type": self.block_pooling_type}

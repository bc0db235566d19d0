"""Wrapper of layers whose channels Selective Weight Decay prunes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.costs.limits import CostLimits
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.pruning.wrapper import ChannelState
from tfmot_swd.swd.decay_wrapper import DecayWrapper
from tfmot_swd.swd.structured.schedule import StructuredDecay


@dataclasses.dataclass(frozen=True)
class OwnedAxis:
    """One axis of one weight whose slices belong to channels.

    Args:
      path: of the weight in the wrapped layer, dots for parts.
      axis: of the weight.
      mask: float32 `(size of the axis,)`, 0 where the final pruning step has removed the slice.
      ranked: bool `(size of the axis,)`, whether the slice belongs to a ranked channel.
    """

    path: str
    axis: int
    mask: tf.Variable
    ranked: tf.Variable


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneStructuredDecay(DecayWrapper):
    """Wraps a layer that makes, follows or reads channels; a `ChannelPool` decides for all wrappers of a model.

    Models are wrapped by `prune_selective_decay` with a `StructuredDecay`. Masks are ones until the final pruning step.

    Variables: those of `OwnedAxis` for each axis, `threshold` (float32), `pruning_step` (int64, updates begun),
    `last_iterations` (int64) and `cut` (bool, whether the final pruning step has been made).

    Args:
      layer: any Keras layer.
      pruning_schedule: the `StructuredDecay`.
      limits: the limits of its budget for this model; like the schedule, shared by all wrappers of a model.
      owned_axes: (path, axis) of each axis of a weight whose slices belong to channels.
    """

    def __init__(
        self,
        layer: Any,
        pruning_schedule: StructuredDecay,
        limits: CostLimits,
        owned_axes: Sequence[Sequence[Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, pruning_schedule, **kwargs)
        self.limits = limits
        self.owned_axes = [tuple(each) for each in owned_axes]
        self.owned: list[OwnedAxis] = []

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        self._add_clock()
        self.owned = [self._owned(index, *row) for index, row in enumerate(self.owned_axes)]
        weights = [weight_at(self.layer, each.path) for each in self.owned]
        self._set_pruning_vars(weights, [each.mask for each in self.owned])

    def _owned(self, index: int, path: str, axis: int) -> OwnedAxis:
        size, suffix = [weight_at(self.layer, path).shape[axis]], f"_{index}" if index else ""
        return OwnedAxis(
            path,
            axis,
            self._add_state(f"mask{suffix}", size, initializer="ones"),
            self._add_state(f"ranked{suffix}", size, tf.bool),
        )

    def mark_ranked(self, path: str, axis: int, indices: np.ndarray) -> None:
        """Marks the channels that own these slices of a weight as ranked."""
        owned = next(each for each in self.owned if (each.path, each.axis) == (path, axis))
        ranked = owned.ranked.numpy()
        ranked[indices] = True
        owned.ranked.assign(ranked)

    def masked_weights(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        found: dict[int, tuple[tf.Variable, tf.Tensor]] = {}
        for each in self.owned:
            weight = weight_at(self.layer, each.path)
            mask = along(each.mask.read_value(), each.axis, len(weight.shape))
            found[id(weight)] = (weight, found[id(weight)][1] * mask if id(weight) in found else mask)
        return list(found.values())

    def channel_states(self) -> list[ChannelState]:
        found = []
        for each in self.owned:
            weight = weight_at(self.layer, each.path)
            axis = each.axis if len(weight.shape) > 1 else None
            found += [ChannelState(weight, state, axis) for state in (each.mask, each.ranked)]
        return found

    def get_config(self) -> dict[str, Any]:
        limits = {"class_name": keras.utils.get_registered_name(CostLimits), "config": self.limits.get_config()}
        return {**super().get_config(), "limits": limits, "owned_axes": [list(each) for each in self.owned_axes]}

    @classmethod
    def _parts_of_config(cls) -> tuple[str, ...]:
        return ("pruning_schedule", "limits")


def along(vector: tf.Tensor, axis: int, rank: int) -> tf.Tensor:
    """Returns a vector reshaped to broadcast along one axis of a tensor of this rank."""
    return tf.reshape(vector, [-1 if each == axis else 1 for each in range(rank)])

"""One-shot pruning of one part of a model: the weakest channels of a group, or the smallest weights of a layer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import ChannelCriterion
from tfmot_swd.channels.groups import ChannelGroup, ChannelGroups, parts_of
from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.channels.scores import scores_of_plan
from tfmot_swd.keras2.compat import master_variable, variables_of
from tfmot_swd.keras2.layer_weights import layers_with_weights
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.plan import plan_pruning


@dataclasses.dataclass(frozen=True)
class Prunable:
    """One part of a model that can be pruned by itself.

    Args:
      layer: name of the layer, or of the group of channels.
      size: number of its channels or weights.
      order: those that can be pruned, the weakest first, int64.
      weights: the variables that a mask acts on.
      slices: for a group, (number of the variable, axis, channel of each index or -1) of each weight that reads it;
        for a layer empty, as the places of `order` count through all elements of its weights.
      group: the group of channels; None for a layer.
    """

    layer: str
    size: int
    order: np.ndarray
    weights: tuple[tf.Variable, ...]
    slices: tuple[tuple[int, int, np.ndarray], ...] = ()
    group: ChannelGroup | None = None

    @property
    def is_exact(self) -> bool:
        """Whether zeros compute what the model without the channels does; not where two tensors are multiplied."""
        return self.group is None or not self.group.multiplied_in

    def weakest(self, rate: float) -> np.ndarray:
        """Returns the places of so large a share, rounded down, of what may be pruned; bool `(size,)`."""
        mask = np.zeros(self.size, bool)
        # As 0.29 · 100 is 28.999999999999996.
        mask[self.order[: int(rate * self.size + 1e-9)]] = True
        return mask

    @contextlib.contextmanager
    def zeroed(self, places: np.ndarray) -> Iterator[None]:
        """Sets to zero, for the block, the weights at these places, or all that read these channels.

        Args:
          places: bool `(size,)`.
        """
        before = [weight.numpy() for weight in self.weights]
        try:
            for weight, value in zip(self.weights, self._masked(before, places), strict=True):
                weight.assign(value)
            yield
        finally:
            for weight, value in zip(self.weights, before, strict=True):
                weight.assign(value)

    def _masked(self, values: Sequence[np.ndarray], places: np.ndarray) -> list[np.ndarray]:
        if self.group is None:
            bounds = np.cumsum([value.size for value in values])[:-1]
            parts = zip(values, np.split(places, bounds), strict=True)
            return [np.where(part.reshape(value.shape), value.dtype.type(0), value) for value, part in parts]
        masked = [value.copy() for value in values]
        for number, axis, channels in self.slices:
            gone = (channels >= 0) & places[channels]
            np.moveaxis(masked[number], axis, 0)[gone] = 0
        return masked


def prunable_groups(
    model: Any, criterion: ChannelCriterion, skip: Collection[str], only: Collection[str] | None
) -> tuple[ChannelGroups, list[Prunable]]:
    """Returns the groups of coupled channels of a tf_keras model that can lose some, in the order of the graph.

    Raises:
      TypeError, ValueError: as `plan_channels`; no channel can be removed.
    """
    plan = plan_channels(model, layers="all", skip=skip, only=only)
    if not plan.ranked:
        raise ValueError(f"No channel of this model can be removed. Received: {plan.summary()}")
    scores = scores_of_plan(plan, criterion)
    parts = parts_of(plan.groups)
    variables = {id(each): each for each in variables_of(model)}
    found = []
    for row in plan.ranked:
        group = plan.groups[row.group]
        readers = list(dict.fromkeys(member.variable_id for member in group.consumers))
        slices = tuple((readers.index(each.variable_id), each.axis, each.channels) for each in group.consumers)
        order = _removable(scores[group.name], parts.get(group.name, []))
        weights = tuple(variables[each] for each in readers)
        found.append(Prunable(group.name, group.size, order, weights, slices, group))
    return plan.groups, found


def prunable_layers(model: Any, skip: Collection[str], only: Collection[str] | None) -> list[Prunable]:
    """Returns the layers of a tf_keras model with prunable weights, in the order of the graph.

    Raises:
      TypeError, ValueError: as `plan_pruning`; there is none.
    """
    plan = plan_pruning(model, skip=skip, only=only)
    wanted = {row.layer_id for row in plan.pruned}
    seen: set[int] = set()
    found = []
    for path, layer in layers_with_weights(model):
        if id(layer) not in wanted:
            continue
        # A weight that layers share counts for the first of them.
        trained = {id(master_variable(each)) for each in layer.trainable_weights} - seen
        weights = [each for each in map(master_variable, counted_weights(layer)) if id(each) in trained]
        seen |= {id(each) for each in weights}
        magnitudes = np.concatenate([np.abs(each.numpy()).ravel() for each in weights])
        order = np.argsort(magnitudes, kind="stable")
        found.append(Prunable(path, len(order), order, tuple(weights)))
    if not found:
        raise ValueError(f"Nothing in this model can be pruned. Received: {plan.summary()}")
    return found


def _removable(scores: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the channels of a group that can leave, the weakest first, without the best one of it and of each part.

    Args:
      scores: `(size,)`.
      parts: places of the channels of each part, of which one must stay.
    """
    stay = {int(part[np.argmax(scores[part])]) for part in (np.arange(len(scores)), *parts)}
    return np.array([place for place in np.argsort(scores, kind="stable") if int(place) not in stay], np.int64)

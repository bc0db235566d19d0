"""How much a channel matters, from the weights that it owns, in graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.groups import ChannelGroup, Member
from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.swd.structured.schedule import CRITERIA


@dataclasses.dataclass(frozen=True)
class _Source:
    """One axis of one weight, reduced to a number for each index: |w|, or the sum of squares of each slice."""

    variable: tf.Variable
    axis: int
    squared: bool
    places: np.ndarray

    def values(self) -> tf.Tensor:
        value = tf.cast(self.variable.read_value(), tf.float32)
        if not self.squared:
            return tf.abs(value)
        return tf.reduce_sum(tf.square(value), [each for each in range(len(value.shape)) if each != self.axis])


class ChannelScores:
    """Scores of all ranked channels as one vector, `(channels,)`, group after group.

    "scale": the mean |gamma| of the normalizations behind a channel, or, in a group without, the root of the mean
    square norm of the filters that make it. "auto": the same over its group's mean. "magnitude": the norm of all that
    the channel owns, over its group's mean.

    Args:
      groups: the ranked ones, in order.
      makers: of each group, the weights whose filters make it.
      variables: trainable variables by identity.
      criterion: a key of the above.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        makers: Sequence[Collection[Member]],
        variables: Mapping[int, tf.Variable],
        criterion: str,
    ) -> None:
        self._size = sum(group.size for group in groups)
        self._group = np.repeat(np.arange(len(groups)), [group.size for group in groups])
        self._relative = criterion != "scale"
        self._sources: list[_Source] = []
        rooted = np.zeros(self._size, bool)
        start = 0
        for group, making in zip(groups, makers, strict=True):
            gammas = [] if criterion == "magnitude" else scales(group, variables)
            squared = not gammas
            for member in gammas or (group.members if criterion == "magnitude" else making):
                if member.variable_id in variables:
                    places = np.where(member.channels >= 0, start + member.channels, self._size)
                    self._sources.append(_Source(variables[member.variable_id], member.axis, squared, places))
            rooted[start : start + group.size] = squared
            start += group.size
        self._rooted = rooted
        self._places = np.concatenate([source.places for source in self._sources])
        counts = np.bincount(self._places, minlength=self._size + 1)[: self._size]
        # Of what a channel owns the whole norm counts, of what makes it the mean over those that do.
        self._counts = np.ones_like(counts) if criterion == "magnitude" else np.maximum(counts, 1)
        self._counts = self._counts.astype(np.float32)

    def __call__(self) -> tf.Tensor:
        """Returns the scores, float32."""
        parts = tf.concat([source.values() for source in self._sources], axis=0)
        sums = tf.math.unsorted_segment_sum(parts, tf.constant(self._places), self._size + 1)[: self._size]
        means = sums / self._counts
        scores = tf.where(tf.constant(self._rooted), tf.sqrt(means), means)
        if self._relative:
            scores /= tf.gather(tf.math.segment_mean(scores, tf.constant(self._group)), self._group) + 1e-12
        return scores


def channel_scores(
    model: Any,
    criterion: str = "auto",
    *,
    layers: str = "all",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns how much each channel of a model matters, by group: what `StructuredDecay` ranks by, for `fit_budget`.

    Args:
      model: a built Sequential or Functional tf_keras model.
      criterion: "auto", "scale" or "magnitude", see `StructuredDecay`.
      layers, skip, only: which groups, see `plan_channels`.

    Raises:
      TypeError, ValueError: as `plan_channels`; an unknown criterion.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> net.layers[0].set_weights([np.diag([3.0, 4.0, 5.0, 0.0])[:, :3], np.zeros(3)])
    >>> channel_scores(net)["hidden"].tolist()
    [0.75, 1.0, 1.25]
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}. Received: {criterion!r}")
    plan = plan_channels(model, layers=layers, skip=skip, only=only)
    if not plan.ranked:
        return {}
    groups = [plan.groups[row.group] for row in plan.ranked]
    variables = {id(each): each for each in map(master_variable, model.trainable_weights)}
    found = ChannelScores(groups, [row.scored for row in plan.ranked], variables, criterion)().numpy()
    bounds = np.cumsum([group.size for group in groups])[:-1]
    return {group.name: values for group, values in zip(groups, np.split(found, bounds), strict=True)}


def scales(group: ChannelGroup, variables: Collection[int]) -> list[Member]:
    """Returns the gammas of normalizations, of these variables, that act on the channels of a group one by one.

    None where there is not one for each channel, as behind a concatenation of which one part alone is normalized.
    """
    found = [
        each for each in group.followers if each.weight.split(".")[-1] == "gamma" and each.variable_id in variables
    ]
    scaled = np.zeros(group.size, bool)
    for member in found:
        scaled[member.channels[member.channels >= 0]] = True
    return found if scaled.all() else []


def shares_within(values: tf.Tensor, group: np.ndarray) -> tf.Tensor:
    """Returns the share of its group that each channel is not below, float32 in (0, 1]; equal ones have equal shares.

    group: number of the group of each channel, ascending.
    """
    size = len(group)
    sizes = np.bincount(group)
    by_value = tf.argsort(values, stable=True)
    order = tf.gather(by_value, tf.argsort(tf.gather(group, by_value), stable=True))
    sorted_values = tf.gather(values, order)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    is_first = np.zeros(size, bool)
    is_first[starts] = True
    rises = tf.concat([[True], sorted_values[1:] != sorted_values[:-1]], axis=0) | tf.constant(is_first)
    run = tf.cumsum(tf.cast(rises, tf.int32)) - 1
    upto = tf.constant(np.arange(size) - starts[group] + 1, tf.float32) / tf.constant(sizes[group], tf.float32)
    share = tf.gather(tf.math.unsorted_segment_max(upto, run, size), run)
    return tf.scatter_nd(order[:, None], share, [size])

"""Channel scores of a model by a criterion of weights alone, computed in graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.channels.groups import ChannelGroup, Member
from tfmot_swd.channels.plan import ChannelPlan, makers_of, plan_channels
from tfmot_swd.keras2.compat import master_variable


@dataclasses.dataclass(frozen=True)
class _Source:
    """One axis of one weight, whose slices have an importance for the channels at `places`."""

    variable: tf.Variable
    axis: int
    criterion: ChannelCriterion
    places: np.ndarray

    def values(self, dtype: tf.DType) -> tf.Tensor:
        found = self.criterion.importance(tf.cast(self.variable.read_value(), dtype), self.axis)
        if found.shape != self.places.shape or found.dtype != dtype:
            raise ValueError(
                f"{type(self.criterion).__name__}.importance must return one number a slice, of shape "
                f"{self.places.shape} and type {dtype.name} for {self.variable.name}. "
                f"Received: shape {found.shape} and type {found.dtype.name}"
            )
        return found


class ChannelScores:
    """The scores of all ranked channels as one vector, `(channels,)`, group after group.

    Args:
      groups: the ranked groups, in order.
      makers: for each group, the weights whose slices are its filters.
      variables: trainable variables by identity.
      criterion: a criterion of weights alone.
      dtype: dtype of the scores and of their computation.
      relative: whether scores are divided by the mean of their group; by default `criterion.is_relative`.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        makers: Sequence[Collection[Member]],
        variables: Mapping[int, tf.Variable],
        criterion: ChannelCriterion,
        *,
        dtype: tf.DType = tf.float32,
        relative: bool | None = None,
    ) -> None:
        self._dtype = dtype
        self._size = sum(group.size for group in groups)
        self._groups = len(groups)
        self._group = np.repeat(np.arange(len(groups)), [group.size for group in groups])
        self._relative = criterion.is_relative if relative is None else relative
        self._sources: list[_Source] = []
        # Where groups are ranked by different criteria, such as those with batch norm and those without.
        self._ranked_by: dict[ChannelCriterion, np.ndarray] = {}
        start = 0
        for group, making in zip(groups, makers, strict=True):
            by, members = criterion.of_group(group, list(making), variables)
            self._ranked_by.setdefault(by, np.zeros(self._size, bool))[start : start + group.size] = True
            for member in members:
                if member.variable_id in variables:
                    places = np.where(member.channels >= 0, start + member.channels, self._size)
                    self._sources.append(_Source(variables[member.variable_id], member.axis, by, places))
            start += group.size
        self._places = np.concatenate([source.places for source in self._sources])
        counts = np.bincount(self._places, minlength=self._size + 1)[: self._size]
        counts = np.maximum(counts, 1) if criterion.averages else np.ones_like(counts)
        self._counts = counts.astype(dtype.as_numpy_dtype)

    def __call__(self) -> tf.Tensor:
        """Returns the scores for the current weights."""
        parts = tf.concat([source.values(self._dtype) for source in self._sources], axis=0)
        sums = tf.math.unsorted_segment_sum(parts, tf.constant(self._places), self._size + 1)[: self._size]
        scores = means = sums / self._counts
        for criterion, own in self._ranked_by.items():
            scores = tf.where(tf.constant(own), criterion.from_mean(means), scores)
        if self._relative:
            # Of magnitudes: a negative mean would turn the order round.
            means = tf.math.unsorted_segment_mean(tf.abs(scores), tf.constant(self._group), self._groups)
            scores /= tf.gather(means, self._group) + 1e-12
        return scores


def channel_scores(
    model: Any,
    criterion: str | ChannelCriterion = "auto",
    *,
    layers: str = "all",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the importance of each channel of a model by group, as `StructuredDecay` ranks them.

    Pass them to `fit_budget` for one-shot pruning.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      criterion: "auto", "scale", "magnitude", "filter_norm", "l1", "l2" or "geometric_median", see `StructuredDecay`;
        or a `ChannelCriterion` of weights alone.
      layers, skip, only: selection of the groups, see `plan_channels`.

    Returns:
      Group name → scores, float32 `(size,)`; larger is more important. Of the default criterion they are relative to
      the mean of the group.

    Raises:
      TypeError, ValueError: as `plan_channels`; an unknown criterion, or one that needs gradients.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> net.layers[0].set_weights([np.diag([3.0, 4.0, 5.0, 0.0])[:, :3], np.zeros(3)])
    >>> channel_scores(net)["hidden"].tolist()
    [0.75, 1.0, 1.25]
    """
    by = resolve_criterion(criterion, of_weights=True, saved=False)
    return scores_of_plan(plan_channels(model, layers=layers, skip=skip, only=only), by)


def scores_of_plan(plan: ChannelPlan, criterion: ChannelCriterion) -> dict[str, np.ndarray]:
    """Returns the scores of the ranked groups of a plan, as `channel_scores` does.

    Args:
      plan: of the model.
      criterion: a criterion of weights alone.
    """
    if not plan.ranked:
        return {}
    groups = [plan.groups[row.group] for row in plan.ranked]
    variables = {id(each): each for each in map(master_variable, plan.groups.model.trainable_weights)}
    found = ChannelScores(groups, [row.scored for row in plan.ranked], variables, criterion)().numpy()
    bounds = np.cumsum([group.size for group in groups])[:-1]
    return {group.name: values for group, values in zip(groups, np.split(found, bounds), strict=True)}


def group_scores(group: ChannelGroup, variables: Mapping[int, tf.Variable], criterion: ChannelCriterion) -> np.ndarray:
    """Returns the scores of one group's channels, float64 `(size,)`, not divided by their mean.

    Args:
      group: the group.
      variables: variables that count, by identity.
      criterion: a criterion of weights alone.
    """
    makers = makers_of(group, variables)
    found: np.ndarray = ChannelScores(
        [group], [makers], variables, criterion, dtype=tf.float64, relative=False
    )().numpy()
    return found


def shares_within(values: tf.Tensor, group: np.ndarray) -> tf.Tensor:
    """Returns the share of channels in its group with a value not above that of each channel, float32 in (0, 1].

    Equal values have equal shares.

    Args:
      values: `(channels,)`.
      group: group number of each channel, int `(channels,)`, ascending.
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

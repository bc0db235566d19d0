"""Threshold search for the channels that fit a budget, over exact counts, in graph."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.groups import ChannelGroups, parts_of
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.terms import CostTerms

# Thresholds that are tried at once: two rounds find one of a thousand, three of 32 thousand.
_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Result of a search, as tensors.

    Args:
      keep: bool `(channels,)`, true where a channel is kept.
      threshold: float32 scalar; channels below it are removed, except those kept by floors and rounding.
      costs: float64 `(limits,)`, costs of the smaller model.
      floored: bool `(groups,)`, groups kept at their minimum, of which fewer channels reach the threshold.
    """

    keep: tf.Tensor
    threshold: tf.Tensor
    costs: tf.Tensor
    floored: tf.Tensor


class ChannelSearch:
    """Search for the lowest threshold at which the costs of the smaller model are within limits.

    All channels of the ranked groups are one vector, group after group. A threshold keeps the channels that are not
    below it, and of each group the best ones up to `minimum`, one per part of a tensor that would be empty otherwise,
    and the next multiple of `round_to`. Costs fall monotonically with the threshold. The costs of several thresholds
    are counted at once, from the number of channels kept of each group.

    Args:
      groups: the groups of the model.
      names: the ranked groups; others are kept whole.
      terms: terms of the cost of each limit.
      costs: weights and calls of the model.
      minimum: the least number of channels kept of each group.
      round_to: the number of channels kept of a group is a multiple of this, or its size.
    """

    def __init__(
        self,
        groups: ChannelGroups,
        names: Sequence[str],
        terms: Sequence[CostTerms],
        costs: ChannelCosts,
        *,
        minimum: int = 1,
        round_to: int = 1,
    ) -> None:
        self.names, self.terms, self._round_to = tuple(names), tuple(terms), round_to
        ranked = [groups[name] for name in names]
        sizes = np.array([group.size for group in ranked])
        self.channels = int(sizes.sum())
        self.group = np.repeat(np.arange(len(ranked)), sizes)
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self._sizes = sizes.astype(np.float64)
        self._place_of = np.full(len(groups.trace.classes.root), -1)
        self._place_of[np.concatenate([group.ids for group in ranked])] = np.arange(self.channels)
        self._parts = self._parts_of(groups)
        parts_in = np.bincount([self.group[part[0]] for part in self._parts], minlength=len(ranked))
        self._floors = np.minimum(np.maximum(minimum, parts_in), sizes).astype(np.float64)
        self._base, self._whole, self._single = self._composition(costs)

    def within(self, values: tf.Tensor, limits: tf.Tensor, *, keep_ties: bool = True) -> Fitted:
        """Returns the channels to keep within limits.

        Args:
          values: scores, float32 `(channels,)`; larger is better.
          limits: float64 `(limits,)`, one for each of `terms`.
          keep_ties: keep or remove channels of equal value together, even where that is over a limit; otherwise the
            first ones are kept.
        """
        values = values if keep_ties else self._distinct(values)
        # Values and thresholds are results of one sort: XLA may compute a tensor once for each use, and differently
        # rounded, so that a channel would be below its own value.
        descending, order = tf.math.top_k(values, self.channels)
        values = tf.scatter_nd(order[:, None], descending, [self.channels])
        ascending = tf.concat([tf.reverse(descending, axis=[0]), [np.inf]], axis=0)
        values = self._with_parts(values)
        place = self.places(values)
        low = tf.zeros([], tf.int32)
        # With ties kept, the best channels stay at any cost: where all are equal, nothing distinguishes them.
        high = tf.constant(self.channels - 1 if keep_ties else self.channels, tf.int32)
        for _ in range(math.ceil(math.log(self.channels + 1, _AT_ONCE)) + 1):
            tried = low + (high - low) * tf.range(_AT_ONCE) // _AT_ONCE
            costs = self._costs(place, self.kept(values, tf.gather(ascending, tried)))
            over = tf.reduce_sum(tf.cast(tf.reduce_any(costs > limits[:, None], axis=0), tf.int32))
            bounds = tf.concat([tried, high[None]], axis=0)
            # An index in brackets is a slice, whose begin XLA takes for a constant: the step would lose its decay.
            last, high = tf.gather(bounds, tf.maximum(over - 1, 0)), tf.gather(bounds, over)
            low = tf.where(over > 0, last + 1, low)
            low = tf.minimum(low, high)
        threshold = tf.gather(ascending, high)
        kept = self.kept(values, threshold[None])
        wanted = self._count(values, threshold[None])
        return Fitted(
            self.best(place, kept[:, 0]),
            threshold,
            self._costs(place, kept)[:, 0],
            wanted[:, 0] < tf.constant(self._floors),
        )

    def above(self, values: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        """Returns the channels that a threshold keeps, bool `(channels,)`."""
        values = self._with_parts(values)
        return self.best(self.places(values), self.kept(values, threshold[None])[:, 0])

    def marginal_costs(self) -> np.ndarray:
        """Returns the marginal cost of each channel beyond that of its group, float64 `(channels,)`.

        Channels of a group cost the same except where an axis has only a part of the group. The marginal cost is the
        derivative of the costs with respect to the sizes of such axes, as a share of the costs of the unpruned model.
        """
        found = np.zeros(self.channels)
        axis, channel = self._single
        if not len(axis):
            return found
        whole = self._base + self._whole @ self._sizes + np.bincount(axis, minlength=len(self._base))
        for terms in self.terms:
            slope = np.zeros(len(whole))
            factors = whole[terms.axes]
            for place in range(factors.shape[1]):
                others = np.delete(factors, place, axis=1).prod(axis=1)
                np.add.at(slope, terms.axes[:, place], terms.coefficients * others)
            np.add.at(found, channel, slope[axis] / max(terms.count(whole), 1.0))
        return found

    def smallest(self) -> dict[str, np.ndarray]:
        """Returns keep-masks by group with the fewest channels allowed, an upper bound of their cost for any scores.

        The channels with the largest marginal cost are kept of each group.
        """
        values = self._with_parts(self._distinct(tf.constant(self.marginal_costs(), tf.float32)))
        return self.split(self.best(self.places(values), tf.constant(self.floors)).numpy())

    def kept(self, values: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
        """Returns the number of channels kept of each group, float64 `(groups, thresholds)`."""
        rounded = tf.math.ceil(self._count(values, thresholds) / self._round_to) * self._round_to
        return tf.minimum(tf.maximum(rounded, self.floors[:, None]), self._sizes[:, None])

    def best(self, place: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        """Returns the keep-mask of the best `kept` channels of each group, bool `(channels,)`."""
        return tf.cast(place, tf.float64) < tf.gather(kept, self.group)

    def places(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the rank of each channel in its group, int32 `(channels,)`, 0 for the best."""
        by_value = tf.argsort(values, direction="DESCENDING", stable=True)
        order = tf.gather(by_value, tf.argsort(tf.gather(self.group, by_value), stable=True))
        place = tf.range(self.channels) - tf.constant(self.starts[self.group], tf.int32)
        return tf.scatter_nd(order[:, None], place, [self.channels])

    def as_amounts(self, costs: tf.Tensor) -> list[Any]:
        """Returns costs `(limits,)` as numbers, rounded up for integral costs, whose estimates may have fractions."""
        return [
            math.ceil(float(cost) - 1e-6) if terms.integral else float(cost)
            for cost, terms in zip(costs, self.terms, strict=True)
        ]

    def costs_of(self, keep: np.ndarray) -> list[Any]:
        """Returns the costs of a keep-mask, one for each of `terms`; in eager mode."""
        kept = np.bincount(self.group, weights=keep, minlength=len(self.names))
        # The mask need not hold the best channels: its channels rank first here.
        place = self.places(tf.constant(keep, tf.float32))
        return self.as_amounts(self._costs(place, tf.constant(kept)[:, None], keep)[:, 0])

    def split(self, keep: np.ndarray) -> dict[str, np.ndarray]:
        """Returns a keep-mask over all channels as one per group."""
        return dict(zip(self.names, np.split(keep, self.starts[1:-1]), strict=True))

    @property
    def floors(self) -> np.ndarray:
        """The least number of channels kept of each group, rounded, float64 `(groups,)`."""
        return np.minimum(np.ceil(self._floors / self._round_to) * self._round_to, self._sizes)

    def _count(self, values: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
        above = tf.cast(values[:, None] >= thresholds[None, :], tf.float64)
        return tf.math.unsorted_segment_sum(above, tf.constant(self.group), len(self.names))

    def _costs(self, place: tf.Tensor, kept: tf.Tensor, keep: np.ndarray | None = None) -> tf.Tensor:
        """Returns the costs for numbers of channels kept of each group, float64 `(limits, thresholds)`."""
        sizes = self._base[:, None] + tf.linalg.matmul(tf.constant(self._whole), kept)
        axis, channel = self._single
        if len(axis):
            stays = tf.cast(place[:, None], tf.float64) < tf.gather(kept, self.group)
            if keep is not None:
                stays = tf.constant(keep)[:, None]
            each = tf.gather(tf.cast(stays, tf.float64), channel)
            sizes += tf.math.unsorted_segment_sum(each, tf.constant(axis), len(self._base))
        return tf.stack([_count_all(terms, sizes) for terms in self.terms])

    def _distinct(self, values: tf.Tensor) -> tf.Tensor:
        """Returns values in the same order with ties broken: the first of equal ones is the best."""
        order = tf.argsort(values, direction="DESCENDING", stable=True)
        return tf.scatter_nd(order[:, None], tf.range(self.channels, 0, -1, tf.float32), [self.channels])

    def _with_parts(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the values with the best channels of each part of a tensor at infinity, so that none is emptied."""
        for part in self._parts:
            among = tf.gather(values, part)
            raised = tf.where(among >= tf.reduce_max(among), np.float32(np.inf), among)
            values = tf.tensor_scatter_nd_update(values, part[:, None], raised)
        return values

    def _parts_of(self, groups: ChannelGroups) -> list[np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        inside = parts_of(groups)
        for start, name in zip(self.starts, self.names, strict=False):
            for places in inside.get(name, []):
                found[(start + places).tobytes()] = start + places
        return list(found.values())

    def _composition(self, costs: ChannelCosts) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Returns how the sizes of axes depend on the kept channels: (base, whole, (axes, channels)).

        The size of an axis is base[axis] + Σ_g whole[axis, g] · (channels kept of group g) + the number of kept
        channels paired with it in (axes, channels), which list the elements of groups that an axis has only a part of.
        """
        base, whole = np.ones(len(costs.lines) + 1), np.zeros((len(costs.lines) + 1, len(self.names)))
        axes, channels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, line in enumerate(costs.lines, start=1):
            place = self._place_of[line.ravel()]
            base[number] = np.count_nonzero(place < 0)
            times = np.bincount(place[place >= 0], minlength=self.channels)
            for group in np.unique(self.group[place[place >= 0]]):
                own = times[self.starts[group] : self.starts[group + 1]]
                if (own == own[0]).all():
                    whole[number, group] = own[0]
                else:
                    places = self.starts[group] + np.repeat(np.arange(len(own)), own)
                    axes.append(np.full(len(places), number))
                    channels.append(places)
        return base, whole, (np.concatenate(axes), np.concatenate(channels))


def _count_all(terms: CostTerms, sizes: tf.Tensor) -> tf.Tensor:
    """Returns the counts of terms for several sets of axis sizes, `(axes, sets)`."""
    factors = tf.reduce_prod(tf.gather(sizes, terms.axes), axis=1)
    return tf.linalg.matvec(factors, tf.constant(terms.coefficients), transpose_a=True)

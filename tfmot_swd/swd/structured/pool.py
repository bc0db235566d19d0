"""Pool of structured Selective Weight Decay: all ranked channels of a model under one budget."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import resolve_criterion, scales
from tfmot_swd.channels.groups import ChannelGroup, Member, channel_groups
from tfmot_swd.channels.plan import is_frozen, makers_of
from tfmot_swd.channels.scores import ChannelScores, shares_within
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.layers.record import CONSUME, FOLLOW, PRODUCE
from tfmot_swd.pruning.wrapped_models import (
    IN_THE_WRAPPED_MODEL,
    NothingTrainedError,
    assign,
    missing_metadata_message,
    wrapped_graphs,
)
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.structured.wrapper import OwnedAxis, PruneStructuredDecay, along


class ChannelPool(DecayPool[PruneStructuredDecay]):
    """Decays and prunes whole channels: all slices of weights that make, follow or read them; see `DecayPool`.

    Args:
      wrappers: the model's wrappers in call order.
      strategy: the `tf.distribute.Strategy` under which the model was built.
      graph: the Sequential or Functional model that is wrapped.

    Attributes:
      search: the `ChannelSearch` over all ranked channels.
      limits: the `CostLimits` of the budget for this model.
      has_unknown_readers: whether frozen layers, or products of two tensors, read ranked channels:
        which of these stay, no count knows.

    Raises:
      NothingTrainedError: all layers that make ranked channels are frozen.
      ValueError: the wrappers know no ranked channel, or have different schedules.
    """

    wrapper_class = PruneStructuredDecay

    def __init__(self, wrappers: Sequence[PruneStructuredDecay], strategy: tf.distribute.Strategy, graph: Any) -> None:
        super().__init__(wrappers, strategy)
        self.graph, self.limits = graph, self.leader.limits
        schedule = self.schedule
        groups = channel_groups(graph)
        flags = {
            (id(weight_at(wrapper.layer, owned.path)), owned.axis): owned.ranked.numpy()
            for wrapper in wrappers
            for owned in wrapper.owned
        }
        if not any(flag.any() for flag in flags.values()):
            raise ValueError(missing_metadata_message(wrappers))
        variables = {id(each): each for each in map(master_variable, graph.trainable_weights)}
        # A layer frozen after wrapping keeps its channels.
        ranked = [group for group in groups.values() if _is_ranked(group, flags) and not is_frozen(group, variables)]
        # It also keeps inputs that are constant and not zero, and a product keeps what an activation makes of zero.
        self.has_unknown_readers = any(
            group.multiplied_in or any(each.variable_id not in variables for each in group.consumers)
            for group in ranked
        )
        if not ranked:
            raise NothingTrainedError(
                "No channel can be removed while the layers that make them are frozen: set layer.trainable = True "
                f"on some {IN_THE_WRAPPED_MODEL} and compile again, or pass UpdatePruningStep(partial_fit=True) in the "
                "first phase of a training that unfreezes them later. "
                f"Received: {sum(each.trainable for each in wrappers)} of {len(wrappers)} layers trainable"
            )
        costs = ChannelCosts(groups, self.limits.input_shape)
        self.search = ChannelSearch(
            groups,
            [group.name for group in ranked],
            self.limits.terms(costs),
            costs,
            minimum=schedule.minimum,
            round_to=schedule.round_to,
        )
        # If the trained layers alone cannot meet the budget, they are not decayed to meet it.
        self.waits = bool(self.limits.out_of_reach(self.search))
        makers = [makers_of(group, variables) for group in ranked]
        self._scores = ChannelScores(ranked, makers, variables, resolve_criterion(schedule.criterion))
        self._places = _places(ranked, self.search, lambda group, member: True)
        decayed = _places(
            ranked, self.search, lambda group, member: _is_decayed(group, member, schedule.mode, variables)
        )
        mine = {id(weight_at(wrapper.layer, each.path)) for wrapper in self.wrappers for each in wrapper.owned}
        self._decayed: dict[int, list[tuple[int, np.ndarray]]] = {}
        for (variable, axis), places in decayed.items():
            if variable in mine and variable in variables and (places < self.search.channels).any():
                self._decayed.setdefault(variable, []).append((axis, places))
        self._weights = [variables[each] for each in self._decayed]
        self._shrunk = tf.function(self._shrunk_in_one, jit_compile=True)
        self._traced: dict[bool, Any] = {}
        # The channels to keep in the present update, once the pool has joined.
        self._kept: tf.Variable | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        wrappers, graphs = cls._wrappers_of(model), wrapped_graphs(model)
        if len(graphs) > 1:
            raise ValueError(
                "A budget applies to one network: put the parts into one Functional model and wrap that. "
                f"Received: {', '.join(graph.name for graph in graphs)}, wrapped one by one"
            )
        pool = cls(wrappers, model.distribute_strategy, graphs[0])
        now = dict(zip(pool.limits.final, pool.search.costs_of(np.ones(pool.search.channels, bool)), strict=True))
        # Sums in another order differ by rounding errors where costs are not whole numbers.
        if any(cost > pool.limits.whole[name] * (1 + 1e-12) for name, cost in now.items()):
            raise ValueError(
                "The budget was resolved for the model that was wrapped, and this one is larger: wrap the whole model, "
                f"with skip for layers whose channels stay. Received: {now} in place of {dict(pool.limits.whole)}"
            )
        return pool

    def scores(self) -> tf.Tensor:
        """Returns the scores that rank the channels, float32 `(channels,)`."""
        found = self._scores()
        return found if self.schedule.scope == "global" else shares_within(found, self.search.group)

    def limits_at(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the limits at `step`, a float64 vector in the order of `limits.final`."""
        return self.limits.at(self.schedule.way_left(step))

    def keep(self) -> tf.Tensor:
        """Returns the channels that are not targeted, bool `(channels,)`; before the final pruning step."""
        return self._above() if self._kept is None else self._kept.read_value()

    def _above(self) -> tf.Tensor:
        return self.search.above(self.scores(), self.leader.threshold.read_value())

    def left(self) -> np.ndarray:
        """Returns the channels that the final pruning step has left, bool `(channels,)`; all of them before it."""
        left = np.ones(self.search.channels + 1, bool)
        for wrapper in self.wrappers:
            for owned in wrapper.owned:
                left[self._places_of(wrapper, owned)[owned.mask.numpy() == 0]] = False
        return left[:-1]

    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        return list(zip(self._weights, self._stays(self.keep()), strict=True))

    def penalty(self, wrapper: PruneStructuredDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of squares of all targeted weights, float32: for the leader, 0 for others."""
        if wrapper is not self.leader or self.waits:
            return tf.zeros([])
        step = self._step_now()
        keep = self.keep()
        total = tf.zeros([])
        for weight, stays in zip(self._weights, self._stays(keep), strict=True):
            total += tf.nn.l2_loss(tf.where(stays, 0.0, tf.cast(weight, tf.float32)))
        return tf.where(self._is_active(step), self.strength.mu * self.schedule.a(step) * total, 0.0)

    def join(self, optimizer: Any) -> None:
        super().join(optimizer)
        self._kept = None
        kept = vars(self.leader.unsaved)
        with self.strategy.scope():
            if "keep" not in kept or kept["keep"].shape != [self.search.channels]:
                kept["keep"] = tf.Variable(tf.ones([self.search.channels], tf.bool), trainable=False)
            kept["keep"].assign(self._above())
        self._kept = kept["keep"]

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        def compute() -> tf.Tensor:
            keep, threshold = self._fitted(self.limits_at(step), keep_ties=True)
            assign(strategy, self.leader.threshold, threshold)
            return keep

        always = self.schedule.frequency == 1
        keep = compute() if always else tf.cond(self.schedule.is_due(step), compute, self._above)
        # A coupled penalty reads them, as scores that XLA computes once more may be rounded differently.
        assign(strategy, self._joined(self._kept), keep)
        return keep

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, targeted: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)
        values = self._shrunk([weight.read_value() for weight in self._weights], targeted, factor)
        for weight, value in zip(self._weights, values, strict=True):
            assign(strategy, weight, value)

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        keep, _ = self._fitted(self.limits_at(self.schedule.end_step), keep_ties=False)
        kept = tf.concat([tf.cast(keep, tf.float32), [1.0]], axis=0)
        for wrapper in self.wrappers:
            for owned in wrapper.owned:
                assign(strategy, owned.mask, tf.gather(kept, self._places_of(wrapper, owned)))

    def _fitted(self, limits: tf.Tensor, keep_ties: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the channels to keep, bool `(channels,)`, and their threshold, a float32 scalar."""
        if keep_ties not in self._traced:
            # Traced once, although Keras traces a training step twice, in different contexts.
            with tf.init_scope():
                self._traced[keep_ties] = self._trace(keep_ties)
        found: tuple[tf.Tensor, tf.Tensor] = self._traced[keep_ties](self.scores(), limits)
        return found

    def _trace(self, keep_ties: bool) -> Any:
        def within(scores: tf.Tensor, limits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            fitted = self.search.within(scores, limits, keep_ties=keep_ties)
            return fitted.keep, fitted.threshold

        scores = tf.TensorSpec([self.search.channels], tf.float32)
        limits = tf.TensorSpec([len(self.limits.final)], tf.float64)
        return tf.function(within, input_signature=[scores, limits], autograph=False).get_concrete_function()

    def _places_of(self, wrapper: PruneStructuredDecay, owned: OwnedAxis) -> np.ndarray:
        place = id(weight_at(wrapper.layer, owned.path)), owned.axis
        return self._places.get(place, np.full(owned.mask.shape, self.search.channels))

    def _stays(self, keep: tf.Tensor) -> list[tf.Tensor]:
        """Returns for each decayed weight a mask that broadcasts to it, False in the slices of targeted channels."""
        kept = tf.concat([keep, [True]], axis=0)
        found = []
        for weight in self._weights:
            masks = [
                along(tf.gather(kept, places), axis, len(weight.shape)) for axis, places in self._decayed[id(weight)]
            ]
            found.append(functools.reduce(tf.logical_and, masks))
        return found

    def _shrunk_in_one(self, values: Sequence[tf.Tensor], keep: tf.Tensor, factor: tf.Tensor) -> list[tf.Tensor]:
        """Returns w · factor in the slices of targeted channels and w elsewhere, for all tensors in one fused pass."""
        return [
            tf.where(stays, value, tf.cast(tf.cast(value, tf.float32) * factor, value.dtype))
            for value, stays in zip(values, self._stays(keep), strict=True)
        ]


def _is_ranked(group: ChannelGroup, flags: dict[tuple[int, int], np.ndarray]) -> bool:
    """Returns whether the wrappers have marked channels of a group as ranked."""
    return any(
        flags[member.variable_id, member.axis][member.channels >= 0].any()
        for member in group.members
        if (member.variable_id, member.axis) in flags
    )


def _is_decayed(group: ChannelGroup, member: Member, mode: str, variables: Collection[int]) -> bool:
    """Returns whether the slices of one weight that belong to a channel are decayed."""
    if mode == "filter":
        return member.role in (PRODUCE, FOLLOW, CONSUME)
    if not scales(group, variables):
        return bool(member.role == PRODUCE)
    return member.role == FOLLOW and member.weight.split(".")[-1] in ("gamma", "beta")


def _places(
    ranked: list[ChannelGroup], search: ChannelSearch, wanted: Callable[[ChannelGroup, Member], bool]
) -> dict[tuple[int, int], np.ndarray]:
    """Returns by (variable, axis) the channel of each index; the number of channels for an index without one."""
    found: dict[tuple[int, int], np.ndarray] = {}
    for start, group in zip(search.starts, ranked, strict=False):
        for member in group.members:
            if wanted(group, member):
                places = found.setdefault(
                    (member.variable_id, member.axis), np.full(len(member.channels), search.channels)
                )
                own = member.channels >= 0
                places[own] = start + member.channels[own]
    return found

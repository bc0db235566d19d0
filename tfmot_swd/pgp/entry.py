"""Entry function of Progressive Gradient Pruning, the rate that meets a budget, and the registration of the method."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from absl import logging

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.channels.groups import parts_of
from tfmot_swd.channels.plan import ChannelPlan, channel_plan, plan_channels
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import resolve_limits
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras3.door import opened
from tfmot_swd.pgp.ranking import Ranked, any_leaves, select_filters
from tfmot_swd.pgp.run import ProgressiveRun
from tfmot_swd.pgp.schedule import ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pgp.status import ProgressiveStatus
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.dense_kernels import warn_of_unknown_kernels
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.pruning.wrapped_models import check_can_wrap, mark_origin
from tfmot_swd.pruning.wrapping import wrap_with

# Halvings of the rate that meets a budget: finer than one filter in a million.
_HALVINGS = 24
# Share of the epochs in which filters are removed; the others fine-tune.
_PRUNING_SHARE = 2 / 3


def prune_progressive_gradient(
    model: Any,
    schedule: ProgressiveRate,
    criterion: str | ChannelCriterion = "rpgp",
    *,
    hard_share: float = 0.5,
    reduction: str = "leader",
    scope: str = "layer",
    soft_reset: str = "all",
    reset_slots: bool = True,
    layers: str = "convolutions",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    round_to: int = 1,
    minimum: int = 1,
    seed: int = 0,
) -> Any:
    """Returns a copy of `model` that loses filters while it trains; the original is not changed.

    Compile the result, fit it with `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`. After each epoch
    of the schedule the filters of each layer are ranked. A share of the weak ones is removed from the model, its
    optimizer's state and its training step; the others are set to zero (soft pruning) and ranked again. After the last
    epoch of the schedule all weak filters are removed.

    Source: Nguyen-Meidine et al., "Progressive Gradient Pruning for Classification, Detection and Domain Adaptation",
    arXiv 1906.08746.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, nested models included.
      schedule: a `ProgressiveRate`.
      criterion: "rpgp" (sum of gradient norms during training), "pgp" (norm of the summed gradient, in an extra pass
        over the data), "weight_change", "weight_taylor", "feature_taylor", "random"; of the weights alone "l1", "l2",
        "geometric_median", and those of `StructuredDecay`, which rank groups and ignore `reduction`; or a
        `ChannelCriterion`. Gradients are those of the whole loss, before clipping, momentum and weight decay, and
        without the regularizers of the weights themselves. "pgp" is the published formula; the authors' released code
        adds to the gradient left by the last training batch, and ranks differently.
      hard_share: share of the weak filters, the weakest, that are removed at once, in [0, 1].
      reduction: how filters that an addition joins are ranked: by the convolution nearest to the input ("leader", as
        published), or by the "sum" or "mean" over all convolutions that make them.
      scope: "layer" prunes each layer at the same rate, as published; "global" compares the filters of all layers.
      soft_reset: the weights of a soft-pruned filter that are set to zero: "all" (kernel, bias, batch norm; as
        published), after which it gets no gradient if a batch norm or a ReLU follows; or its "kernel" alone, from which
        it recovers if its constant output, by bias or batch norm, passes the ReLU.
      reset_slots: whether the optimizer's slots of soft-pruned weights return to their initial values.
      layers: "convolutions", as published, or "all"; see `plan_channels`.
      skip, only: names of layers whose channels stay, or of those whose channels alone may be removed; see
        `plan_channels`.
      round_to: the number of filters kept is a multiple of this, if the layer has as many.
      minimum: least number of filters that each layer keeps.
      seed: of the "random" criterion.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions, of a Keras 3 model too.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, `schedule` not a `ProgressiveRate`, or `criterion`
        neither a name nor a `ChannelCriterion`.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to prune; an argument
        is outside its range; a budget cannot be met (the message has the smallest costs that can).

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(8, 8, 1)), keras.layers.Flatten(),
    ...                         keras.layers.Dense(2)])
    >>> pruned = prune_progressive_gradient(net, ProgressiveRate(final_rate=0.5, epochs=10))
    >>> [type(layer).__name__ for layer in pruned.layers]
    ['PruneProgressiveGradient', 'Flatten', 'Dense']
    """
    if not isinstance(schedule, ProgressiveRate):
        raise TypeError(
            "schedule must be a tfmot_swd.ProgressiveRate, for example ProgressiveRate(final_rate=0.5, epochs=30). "
            f"Received: {type(schedule).__name__}"
        )
    settings = ProgressiveSettings(
        resolve_criterion(criterion), hard_share, reduction, scope, soft_reset, reset_slots, round_to, minimum, seed
    )
    given, model = model, opened(model)
    check_can_wrap(model)
    plan = _one_axis_each(channel_plan(model, layers=layers, skip=skip, only=only))
    if not plan.wrapped:
        raise ValueError(f"No filter of this model can be pruned. Received: {plan.summary()}")
    pruned = _wrap(model, with_rate(schedule, settings, plan), settings, plan)
    mark_origin(pruned, given)
    # For a budget that the model already meets, resolve_limits warns.
    if not isinstance(schedule.final_rate, Budget):
        _warn_unless_any_leaves(schedule, settings, plan)
    warn_of_unknown_kernels(plan, LayerChoice(skip, only))
    if len(plan.ranked) < len(plan.rows):
        logging.info("tfmot_swd leaves dense: %s", plan.summary())
    return pruned


def with_rate(schedule: ProgressiveRate, settings: ProgressiveSettings, plan: ChannelPlan) -> ProgressiveRate:
    """Returns the schedule with the least rate that brings the model within its budget; unchanged if it has a rate.

    The rate is found by bisection, for the case that in each layer the filters of the largest marginal cost stay.

    Args:
      schedule: its `final_rate` is a `Budget` or a rate.
      settings: of the same training.
      plan: of the model, before any pruning.

    Raises:
      ValueError: the budget cannot be met (the message has the smallest costs that can); the scope is global, where the
        rate alone does not determine the number of filters of each layer.
    """
    budget = schedule.final_rate
    if not isinstance(budget, Budget):
        return schedule
    if settings.scope != "layer":
        raise ValueError(
            "A budget takes the same share of the filters of each layer: use scope='layer', or give final_rate as a "
            f"number. Received: scope={settings.scope!r} with {budget}"
        )
    names = [row.group for row in plan.wrapped]
    costs = ChannelCosts(plan.groups, budget.input_shape)
    limits = resolve_limits(budget, costs, names, minimum=settings.minimum, round_to=settings.round_to)
    search = ChannelSearch(plan.groups, names, limits.terms(costs), costs)
    # The channels of the largest marginal cost may have the best scores: the budget must hold then, too.
    ranked = _ranked(plan, search.split(search.marginal_costs()))

    def meets(rate: float) -> bool:
        share = dataclasses.replace(schedule, final_rate=rate).share_left(schedule.epochs)
        selections = select_filters(ranked, share, 1.0, round_to=settings.round_to, minimum=settings.minimum)
        keep = [np.isin(np.arange(each.size), selections[each.name].hard, invert=True) for each in ranked]
        found = search.costs_of(np.concatenate(keep))
        return all(cost <= limit for cost, limit in zip(found, limits.final.values(), strict=True))

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return dataclasses.replace(schedule, final_rate=min(high, 1 - 2.0**-_HALVINGS))


def _warn_unless_any_leaves(schedule: ProgressiveRate, settings: ProgressiveSettings, plan: ChannelPlan) -> None:
    ranked = _ranked(plan, {row.group: np.zeros(row.channels) for row in plan.wrapped})
    share, minimum, round_to = schedule.share_left(schedule.epochs), settings.minimum, settings.round_to
    if not any_leaves(ranked, share, scope=settings.scope, minimum=minimum, round_to=round_to):
        most = max(row.channels for row in plan.wrapped)
        warnings.warn(
            "No filter will be removed, even after the last epoch: the rate is less than one filter of each "
            "group, or minimum and round_to keep them all. Raise final_rate, or lower minimum or round_to. "
            f"Received: final_rate={schedule.final_rate:g}, minimum={minimum}, round_to={round_to}, "
            f"at most {most} filters in a group",
            PruningWarning,
            stacklevel=3,
        )


def _ranked(plan: ChannelPlan, scores: Mapping[str, np.ndarray]) -> list[Ranked]:
    """Returns the groups of a plan before any pruning, with scores by group."""
    parts = parts_of(plan.groups)
    return [Ranked(row.group, row.channels, scores[row.group], tuple(parts.get(row.group, ()))) for row in plan.wrapped]


def _wrap(model: Any, schedule: ProgressiveRate, settings: ProgressiveSettings, plan: ChannelPlan) -> Any:
    layers = {record.path: record.layer for record in plan.groups.trace.records.values()}
    ranked: dict[int, dict[str, int]] = {}
    for row in plan.wrapped:
        for member in row.scored:
            ranked.setdefault(id(layers[member.layer]), {})[member.weight] = member.axis
    wrapped: dict[int, PruneProgressiveGradient] = {}

    def wrap(layer: Any, inner: Any) -> Any:
        if id(layer) not in ranked:
            return inner
        wrapped[id(layer)] = PruneProgressiveGradient(inner, schedule, settings, list(ranked[id(layer)].items()))
        return wrapped[id(layer)]

    pruned = wrap_with(model, wrap)
    for row in plan.wrapped:
        leader = np.full(row.channels, "", object)
        for member in row.scored:
            filters = np.flatnonzero(member.channels >= 0)
            channels = member.channels[filters]
            # Where filters are concatenated before an addition, channels have different leaders.
            leader[channels] = np.where(leader[channels] == "", member.layer, leader[channels])
            wrapped[id(layers[member.layer])].mark_ranked(member.weight, filters, leader[channels] == member.layer)
    return pruned


def _one_axis_each(plan: ChannelPlan) -> ChannelPlan:
    """Returns a plan in which the slices of each weight are ranked along one axis alone, that of the first group.

    A kernel of attention makes whole heads along one axis and the features of all heads along another.
    """
    axes: dict[int, int] = {}
    rows = []
    for row in plan.rows:
        free = tuple(each for each in row.scored if axes.setdefault(each.variable_id, each.axis) == each.axis)
        reason = "its weights are ranked along another axis" if row.scored and not free else row.reason
        rows.append(dataclasses.replace(row, scored=free, reason=reason))
    return dataclasses.replace(plan, rows=tuple(rows))


def _plan_all(model: Any, **layers: Any) -> ChannelPlan:
    return _one_axis_each(plan_channels(model, layers="all", **layers))


def _wrap_to(model: Any, target: Target, *, skip: Collection[str] = (), **layers: Any) -> Any:
    final: Any = target.rate if target.budget is None else target.budget
    if target.budget is not None:
        # Those that stay frozen throughout lose nothing: the others have to, at a higher rate.
        skip = (*skip, *_plan_all(model, skip=skip, **layers).frozen_layers)
    schedule = ProgressiveRate(final, max(round(_PRUNING_SHARE * target.epochs), 1), "geometric")
    return prune_progressive_gradient(model, schedule, layers="all", round_to=target.round_to, skip=skip, **layers)


METHOD = register_method(
    PruningMethod(
        name="pgp",
        title="Progressive Gradient Pruning",
        wrapper=PruneProgressiveGradient,
        run=ProgressiveRun,
        status=ProgressiveStatus,
        schedules=(ProgressiveRate,),
        wrap=prune_progressive_gradient,
        wrap_layer=None,
        wrap_to=_wrap_to,
        plan=_plan_all,
        rate_of="the filters of each layer",
        takes_budget=True,
        summary="filters are removed, by their gradients",
    )
)

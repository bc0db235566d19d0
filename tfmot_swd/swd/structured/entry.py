"""Wrapping of a model for structured Selective Weight Decay."""

from __future__ import annotations

from typing import Any

import numpy as np
from absl import logging

from tfmot_swd.channels.plan import channel_plan
from tfmot_swd.costs.budget import as_budget
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import resolve_limits
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.pruning.dense_kernels import warn_of_unknown_kernels
from tfmot_swd.pruning.wrapping import wrap_with
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


def wrap_channels(model: Any, schedule: StructuredDecay, choice: LayerChoice) -> Any:
    """Returns a copy of `model` with wrappers around the layers that own a part of a ranked channel.

    Args:
      model: a built tf_keras Sequential or Functional model.
      schedule: gives the budget and the layers whose channels are ranked.
      choice: layers that the user has skipped or selected.

    The model has passed `check_can_wrap`.

    Raises:
      ValueError: no channel can be removed; the budget cannot be met (the message has the smallest costs that can).
    """
    # The budget covers the channels of frozen layers too, which may be trained later.
    trained = {id(each) for each in variables_of(model) if each.trainable}
    plan = channel_plan(model, layers=schedule.layers, skip=choice.skip, only=choice.only)
    if not plan.wrapped:
        raise ValueError(f"No channel of this model can be removed. Received: {plan.summary()}")
    names = [row.group for row in plan.wrapped]
    budget = as_budget(schedule.budget)
    costs = ChannelCosts(plan.groups, budget.input_shape)
    limits = resolve_limits(budget, costs, names, minimum=schedule.minimum, round_to=schedule.round_to)
    layers = {record.path: record.layer for record in plan.groups.trace.records.values()}
    owned: dict[int, dict[tuple[str, int], np.ndarray]] = {}
    for name in names:
        for member in plan.groups[name].members:
            if member.variable_id in trained:
                axes = owned.setdefault(id(layers[member.layer]), {})
                mine = member.channels >= 0
                place = member.weight, member.axis
                axes[place] = axes[place] | mine if place in axes else mine
    wrapped: dict[int, PruneStructuredDecay] = {}

    def wrap(layer: Any, inner: Any) -> Any:
        if id(layer) not in owned:
            return inner
        wrapped[id(layer)] = PruneStructuredDecay(inner, schedule, limits, list(owned[id(layer)]))
        return wrapped[id(layer)]

    pruned = wrap_with(model, wrap)
    for layer, axes in owned.items():
        for (path, axis), mine in axes.items():
            wrapped[layer].mark_ranked(path, axis, np.flatnonzero(mine))
    warn_of_unknown_kernels(plan, choice)
    if len(plan.ranked) < len(plan.rows):
        logging.info("tfmot_swd leaves dense: %s", plan.summary())
    return pruned

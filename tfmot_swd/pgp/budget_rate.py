"""The rate at which a budget is met."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_swd.channels.groups import parts_of
from tfmot_swd.channels.plan import ChannelPlan
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import resolve_limits
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.pgp.ranking import Ranked, select_filters
from tfmot_swd.pgp.schedule import ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings

# Finer than one filter in a million.
_HALVINGS = 24


def with_rate(schedule: ProgressiveRate, settings: ProgressiveSettings, plan: ChannelPlan) -> ProgressiveRate:
    """Returns the schedule with the least rate that brings the model within its budget; one with a rate as it is.

    Raises:
      ValueError: the budget cannot be met, with what could be; the scope is global, where the rate alone does not tell
        which filters of which layer leave.
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
    costs = ChannelCosts(plan.groups)
    limits = resolve_limits(budget, costs, names, minimum=settings.minimum, round_to=settings.round_to)
    search = ChannelSearch(plan.groups, names, limits.terms(costs), costs)
    parts = parts_of(plan.groups)
    # The channels of the largest marginal cost may be the best: the budget has to hold then, too.
    marginal = search.split(search.marginal_costs())
    ranked = [
        Ranked(row.group, row.channels, marginal[row.group], tuple(parts.get(row.group, ()))) for row in plan.wrapped
    ]

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

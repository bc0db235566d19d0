"""Reach of a job's goal: what the layers that are trained can give, as one training unfreezes no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.channels.groups import layer_names
from tfmot_swd.channels.plan import ChannelPlan
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import amount_said, amounts_of, amounts_said, check_can_be_met
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.keras2.compat import keras
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.pruning.plan import PruningPlan
from tfmot_swd.workflows.goal import Goal


@dataclasses.dataclass(frozen=True)
class Reach(Printable):
    """Limits of a budget for one model, and the least that can be reached. Prints as a table.

    Args:
      whole: the costs of the model, by name.
      limits: what they may be.
      least: what is left with the fewest channels in the groups that trained layers make.
      frozen: names of the layers that keep their channels because they are frozen.
    """

    whole: Mapping[str, Any]
    limits: Mapping[str, Any]
    least: Mapping[str, Any]
    frozen: tuple[str, ...] = ()

    def tables(self, view: View = COMPACT) -> Sequence[Table]:
        table = ResultTable("The budget can be met")
        table.add_column("cost")
        for heading in ("whole model", "at most", "least in reach", "of the whole"):
            table.add_column(heading, justify="right")
        for name, whole in self.whole.items():
            amounts = (amount_said(each[name]) for each in (self.whole, self.limits, self.least))
            table.add_row(name, *amounts, f"{self.least[name] / whole:.1%}" if whole else "")
        table.explain(
            f"Frozen layers keep their channels: {layer_names(self.frozen, view)}." if self.frozen else "",
            "The least is with the fewest channels, and of no use as a model.",
        )
        return (table,)


def check_reach(model: keras.Model, goal: Goal) -> Reach | None:
    """Returns how far a budget can be met before any training; None for another goal, of which nothing need be counted.

    A `fit` that cannot meet its budget warns and waits, as layers may be unfrozen before the next one. A job has one
    training, so that it is refused.

    Args:
      model: the whole one, of tf_keras, with layers trainable and frozen as they will be trained.
      goal: what it is to become.

    Raises:
      TypeError, ValueError: as the plan of the method.
      ValueError: all layers that could be pruned are frozen; the budget cannot be met, or not while layers are frozen.

    >>> import tf_keras as keras
    >>> layers = [keras.layers.Dense(8, name="base", trainable=False), keras.layers.Dense(4, name="head")]
    >>> net = keras.Sequential([keras.layers.Input((3,)), *layers, keras.layers.Dense(2)])
    >>> check_reach(net, Goal("structured", rate=0.2)).least
    {'parameters': 45}
    >>> check_reach(net, Goal("structured", rate=0.5))
    Traceback (most recent call last):
    ValueError: The layers that are trained cannot meet this budget: ...
    """
    method = method_named(goal.method)
    plan = method.plan(model, **goal.layers)
    if isinstance(plan, PruningPlan):
        _check_any(plan.prunable_weights, plan.frozen_layers)
        return None
    if not isinstance(plan, ChannelPlan):
        return None
    _check_any(len(plan.ranked), plan.frozen_layers)
    if goal.budget is None and (goal.rate is None or not method.rate_is_budget):
        return None
    # Where there is none at all, the method says why.
    return _reach(plan, goal) if plan.ranked else None


def _reach(plan: ChannelPlan, goal: Goal) -> Reach:
    budget, sizes = goal.target().as_budget(), {"round_to": goal.round_to}
    costs, names = ChannelCosts(plan.groups, budget.input_shape), [row.group for row in plan.wrapped]
    limits, whole = amounts_of(budget, costs, names, **sizes)
    check_can_be_met(limits, whole, **sizes)
    search = ChannelSearch(plan.groups, [row.group for row in plan.ranked], limits.terms(costs), costs, **sizes)
    over = limits.out_of_reach(search)
    if over:
        asked = amounts_said({name: limits.final[name] for name in over})
        raise ValueError(
            "The layers that are trained cannot meet this budget: frozen layers keep their channels, and a job is one "
            "training, in which they stay frozen. Set layer.trainable = True on some of them, such as "
            f"{layer_names(plan.frozen_layers, COMPACT)}, or ask for no less than can be reached. "
            f"Received: {asked} at most, where {amounts_said(over)} is the least in reach"
        )
    return Reach(limits.whole, limits.final, limits.least_of(search), plan.frozen_layers)


def _check_any(trained: int, frozen: tuple[str, ...]) -> None:
    if not trained and frozen:
        raise ValueError(
            "All layers that could be pruned are frozen, and a job is one training, in which they stay frozen. Set "
            "layer.trainable = True on some of them. "
            f"Received: {layer_names(frozen, COMPACT)}"
        )

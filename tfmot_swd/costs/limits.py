"""Budgets resolved to amounts for one model, and the channels that fit them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import ChannelCriterion
from tfmot_swd.channels.groups import ChannelGroups, groups_of
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.scores import channel_scores
from tfmot_swd.costs.budget import Budget, as_budget, as_tuples
from tfmot_swd.costs.cost import BUILT_IN, Cost, count_terms, find_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import as_entry, from_entry
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.layers.sample import InputShape

# Where a model costs more than was estimated, the estimate is made right for it, and the search made again.
_CONVERSIONS = 6


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class CostLimits:
    """Limits on the costs of one model, as amounts.

    Args:
      whole: costs of the unpruned model, by name.
      final: limits of the pruned model, by name.
      costs: the costs by name, with calibrated estimates; missing names are looked up in the registry.
      input_shape: the sizes of the model's inputs that the costs hold for, where it leaves some open.
    """

    whole: Mapping[str, Any]
    final: Mapping[str, Any]
    costs: Mapping[str, Cost] = dataclasses.field(default_factory=dict)
    input_shape: InputShape | None = None

    def terms(self, costs: ChannelCosts) -> list[CostTerms]:
        """Returns the terms of each cost, in the order of `final`."""
        return [count_terms(self.cost(name), costs) for name in self.final]

    def cost(self, name: str) -> Cost:
        """Returns the cost with a name."""
        return self.costs[name] if name in self.costs else find_cost(name)

    def least_of(self, search: ChannelSearch) -> dict[str, Any]:
        """Returns the costs with the fewest channels that a search allows, by name; its terms are of these limits."""
        return dict(zip(self.final, search.costs_of(np.concatenate(list(search.smallest().values()))), strict=True))

    def out_of_reach(self, search: ChannelSearch) -> dict[str, Any]:
        """Returns the limits that removing channels cannot meet: the least cost that is left, by name; empty where all
        can be met.

        Args:
          search: over the channels that may be removed, with the terms of these limits.
        """
        return {name: cost for name, cost in self.least_of(search).items() if cost > self.final[name]}

    def at(self, way_left: tf.Tensor) -> tf.Tensor:
        """Returns the limits in between: final + way_left · max(whole - final, 0), float64 `(costs,)`.

        Args:
          way_left: share of the way to the final limits that is left, in [0, 1].
        """
        whole, final = (
            tf.constant([float(part[name]) for name in self.final], tf.float64) for part in (self.whole, self.final)
        )
        return final + tf.maximum(whole - final, 0.0) * way_left

    def amounts(self, limits: tf.Tensor) -> dict[str, Any]:
        """Returns limits `(costs,)` by cost name; ints for integral costs."""
        pairs = zip(self.final, limits.numpy().tolist(), strict=True)
        return {name: int(limit) if self.cost(name).integral else limit for name, limit in pairs}

    def corrected(self, model: Any, counted: Mapping[str, float]) -> CostLimits:
        """Returns the limits with estimates corrected for a built model that costs more than they allow."""
        found = {name: self.cost(name).corrected(model, counted[name], self.final[name]) for name in self.final}
        same = all(found[name] == self.cost(name) for name in found)
        return self if same else dataclasses.replace(self, costs=found)

    def get_config(self) -> dict[str, Any]:
        """Returns the amounts and the calibrated costs as plain types."""
        file = self.costs.get("bytes")
        config = {
            "whole": dict(self.whole),
            "final": dict(self.final),
            # Where configs had the only estimate before costs were objects.
            "file": file and list(file.get_config().values()),
        }
        entries = {name: as_entry(cost) for name, cost in self.costs.items() if name not in BUILT_IN}
        sizes = {"input_shape": self.input_shape} if self.input_shape else {}
        return {**config, "costs": entries, **sizes} if entries else {**config, **sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CostLimits:
        costs = {name: from_entry(entry) for name, entry in config.get("costs", {}).items()}
        if config["file"]:
            costs["bytes"] = type(find_cost("bytes"))(*config["file"])
        return cls(config["whole"], config["final"], costs, as_tuples(config.get("input_shape")))


def resolve_limits(
    budget: Budget, costs: ChannelCosts, names: Sequence[str], *, minimum: int = 1, round_to: int = 1
) -> CostLimits:
    """Returns the limits of a budget for one model, as amounts.

    Warns with a `PruningWarning` if the unpruned model is within all limits, or if MACs of layers are unknown.

    Args:
      budget: the budget.
      costs: weights and calls of the model.
      names: groups from which channels may be removed.
      minimum, round_to: as for `fit_budget`.

    Raises:
      ValueError: the smallest model allowed exceeds a limit; the message says what it costs.
    """
    limits, search = amounts_of(budget, costs, names, minimum=minimum, round_to=round_to)
    if costs.unknown:
        warnings.warn(
            "Multiply-accumulates of some layers are not known and count as 0 in this budget: register them with "
            f"tfmot_swd.register_layer(MyLayer, macs=...). Received: {', '.join(costs.unknown)}",
            PruningWarning,
            stacklevel=4,
        )
    check_can_be_met(limits, search, minimum=minimum, round_to=round_to)
    if all(limits.final[name] >= cost for name, cost in limits.whole.items()):
        costing, allowed = (amounts_said(part) for part in (limits.whole, limits.final))
        warnings.warn(
            "The whole model is within this budget as it is, so nothing will be removed: give a count below what it "
            f"costs, or a share below 1. Received: {allowed} for a model of {costing}",
            PruningWarning,
            stacklevel=4,
        )
    return limits


def amounts_of(
    budget: Budget, costs: ChannelCosts, names: Sequence[str], *, minimum: int = 1, round_to: int = 1
) -> tuple[CostLimits, ChannelSearch]:
    """Returns the limits of a budget for one model, as `resolve_limits`, whether they can be met or not.

    Beside them the search over the groups that are named, with their terms.
    """
    objects = {name: budget.cost(name) for name in budget.costs}
    if any(cost.estimated for cost in objects.values()):
        floor = ChannelSearch(costs.groups, names, [], costs, minimum=minimum, round_to=round_to).smallest()
        objects = {name: cost.calibrated(costs, floor) for name, cost in objects.items()}
    objects = {name: cost for name, cost in objects.items() if cost.estimated or name not in BUILT_IN}
    terms = CostLimits({}, dict.fromkeys(budget.costs, 0), objects).terms(costs)
    search = ChannelSearch(costs.groups, names, terms, costs, minimum=minimum, round_to=round_to)
    whole = dict(zip(budget.costs, search.costs_of(np.ones(search.channels, bool)), strict=True))
    return CostLimits(whole, budget.limits(whole), objects, budget.input_shape), search


def check_can_be_met(limits: CostLimits, search: ChannelSearch, *, minimum: int = 1, round_to: int = 1) -> None:
    """Raises a ValueError where the smallest model of a search exceeds a limit; the message says what it costs."""
    over = limits.out_of_reach(search)
    if over:
        raise ValueError(
            f"This budget cannot be met: with {minimum} channel{'s' if minimum > 1 else ''} left of each group, "
            f"rounded to {round_to}, the model still has {amounts_said(over)}. Give at least that, a smaller minimum "
            "or round_to, or leave out fewer layers. "
            f"Received: {amounts_said({name: limits.final[name] for name in over})}"
        )


def amounts_said(amounts: Mapping[str, Any]) -> str:
    """Returns amounts of costs in words, as parameters=1,000."""
    return ", ".join(f"{name}={amount_said(each)}" for name, each in amounts.items())


def amount_said(amount: float) -> str:
    """Returns an amount in digits, as 1,000."""
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"


@dataclasses.dataclass(frozen=True)
class BudgetFit:
    """The channels to keep under a budget.

    Args:
      keep: keep-mask by group, for `remove_channels` and `shrink_model`.
      costs: costs of the smaller model, by name; bytes are an estimate.
      limits: limits of the budget, by name.
      groups_at_minimum: names of the groups that `minimum` alone keeps from losing more channels.
    """

    keep: dict[str, np.ndarray]
    costs: dict[str, Any]
    limits: dict[str, Any]
    groups_at_minimum: tuple[str, ...]

    @property
    def floored(self) -> tuple[str, ...]:
        """Deprecated: `groups_at_minimum`."""
        warn_deprecated("BudgetFit.floored", "groups_at_minimum")
        return self.groups_at_minimum


def fit_budget(
    model: Any,
    scores: Mapping[str, Any] | str | ChannelCriterion,
    budget: Budget | float,
    *,
    minimum: int = 1,
    round_to: int = 1,
    groups: ChannelGroups | None = None,
) -> BudgetFit:
    """Returns the largest set of the best channels that is within a budget, for one-shot pruning.

    Channels are kept above one threshold over all groups, the lowest at which all limits hold. Costs of the smaller
    model are counted exactly without building it; bytes are estimated, and where they are limited the file is made, and
    the search repeated while it is too large.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      scores: group name → score of each channel, `(size,)`; the largest over all groups are kept. Other groups are kept
        whole (`channel_groups(model)` has the names). Or a criterion of weights alone, by which all groups are ranked
        (`channel_scores`): fit_budget(model, "l1", 0.5).
      budget: a `Budget`, or the share of the parameters to remove, in (0, 1).
      minimum: the least number of channels kept of each group.
      round_to: the number of channels kept of each group is a multiple of this, or its size.
      groups: `channel_groups(model)`, where known, which saves a trace of the graph of a tf_keras model.

    Raises:
      TypeError: `budget` is neither a Budget nor a number.
      ValueError: no scores, an unknown group or criterion, scores of the wrong length or not finite; or the budget
        cannot be met (the message says what can).

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(4, input_shape=(3,), name="hidden"), keras.layers.Dense(2)])
    >>> fit = fit_budget(net, {"hidden": [0.3, 0.1, 0.4, 0.2]}, Budget(parameters=0.6))
    >>> fit.keep["hidden"].tolist(), fit.costs, fit.limits
    ([True, False, True, False], {'parameters': 14}, {'parameters': 15})
    """
    groups = groups_of(model, groups)
    if isinstance(scores, str | ChannelCriterion):
        scores = channel_scores(groups.model, scores)
    values = _checked_scores(groups, scores)
    budget = as_budget(budget)
    costs = ChannelCosts(groups, budget.input_shape)
    limits = resolve_limits(budget, costs, list(scores), minimum=minimum, round_to=round_to)
    for _ in range(_CONVERSIONS):
        search = ChannelSearch(groups, list(scores), limits.terms(costs), costs, minimum=minimum, round_to=round_to)
        fitted = search.within(tf.constant(values), limits.at(tf.zeros([], tf.float64)), keep_ties=False)
        if not any(limits.cost(name).estimated for name in limits.final):
            break
        small = plan_removal(groups.model, search.split(fitted.keep.numpy()), groups=groups).apply(keras2=True)
        counted = dict(zip(limits.final, fitted.costs.numpy().tolist(), strict=True))
        corrected = limits.corrected(small, counted)
        if corrected is limits:
            break
        limits = corrected
    at_minimum = tuple(name for name, each in zip(search.names, fitted.floored.numpy(), strict=True) if each)
    found = dict(zip(limits.final, search.as_amounts(fitted.costs), strict=True))
    if any(cost > limits.final[name] for name, cost in found.items()):
        raise ValueError(
            "The best channels of each group cost more than the budget, though others would not: give more, or a "
            f"smaller minimum or round_to. Received: {dict(limits.final)}, and {found} at least"
        )
    return BudgetFit(search.split(fitted.keep.numpy()), found, dict(limits.final), at_minimum)


def _checked_scores(groups: ChannelGroups, scores: Mapping[str, Any]) -> np.ndarray:
    if not scores:
        raise ValueError("Scores of one group at least are needed, {group: scores}. Received: none")
    unknown = [name for name in scores if name not in groups]
    if unknown:
        raise ValueError(f"There is no such group: the groups are {', '.join(groups) or 'none'}. Received: {unknown}")
    found = []
    for name, given in scores.items():
        values = np.asarray(given, np.float32)
        if values.shape != (groups[name].size,) or not np.isfinite(values).all():
            raise ValueError(
                f"scores[{name!r}] must be {groups[name].size} finite numbers, one a channel. "
                f"Received: shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of them NaN or infinite"
            )
        found.append(values)
    return np.concatenate(found)

"""A budget as counts of one model, and the channels that it leaves."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.costs.budget import Budget, as_budget
from tfmot_swd.costs.counts import ChannelCosts, CostTerms
from tfmot_swd.costs.search import ChannelSearch, as_counts
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.tflite import file_bytes
from tfmot_swd.tflite.file_size import FileSize, measure_file_size

# Where a file comes out too large, the estimate is moved so that it is right for that one, and the search made again.
_CONVERSIONS = 6


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class CostLimits:
    """What may be left of one model, as counts by cost.

    Args:
      whole: what the whole model costs.
      final: what may be left of it.
      file: how bytes are estimated, (scale, offset, recipe); None where they are not limited.
    """

    whole: Mapping[str, int]
    final: Mapping[str, int]
    file: tuple[float, float, str] | None = None

    def terms(self, costs: ChannelCosts) -> list[CostTerms]:
        """Returns how each cost is counted, in the order of `final`."""
        file = None if self.file is None else FileSize(*self.file).terms(costs)
        return [costs.terms(name) if name != "bytes" or file is None else file for name in self.final]

    def at(self, way_left: tf.Tensor) -> tf.Tensor:
        """Returns the limits where this much is left of the way from the whole model to the final ones; float64."""
        whole, final = (
            tf.constant([float(part[name]) for name in self.final], tf.float64) for part in (self.whole, self.final)
        )
        return final + tf.maximum(whole - final, 0.0) * way_left

    def get_config(self) -> dict[str, Any]:
        return {"whole": dict(self.whole), "final": dict(self.final), "file": self.file and list(self.file)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CostLimits:
        return cls(config["whole"], config["final"], config["file"] and tuple(config["file"]))


def resolve_limits(
    budget: Budget, costs: ChannelCosts, names: Sequence[str], *, minimum: int = 1, round_to: int = 1
) -> CostLimits:
    """Returns the limits of a budget for a model whose groups `names` may lose channels.

    Warns where the whole model is within all of them.

    Raises:
      ValueError: the least that may stay is over a limit; the message says what could be met.
    """
    file = None
    if "bytes" in budget.costs:
        floor = ChannelSearch(costs.groups, names, [], costs, minimum=minimum, round_to=round_to).smallest()
        size = measure_file_size(costs, floor, budget.recipe)
        file = (size.scale, size.offset, size.recipe)
    terms = CostLimits({}, dict.fromkeys(budget.costs, 0), file).terms(costs)
    if costs.unknown and "macs" in budget.costs:
        warnings.warn(
            "Multiply-accumulates of some layers are not known and count as 0 in this budget: register them with "
            f"tfmot_swd.layers.macs.register_macs. Received: {', '.join(costs.unknown)}",
            PruningWarning,
            stacklevel=4,
        )
    search = ChannelSearch(costs.groups, names, terms, costs, minimum=minimum, round_to=round_to)
    whole = dict(zip(budget.costs, search.costs_of(np.ones(search.channels, bool)), strict=True))
    limits = CostLimits(whole, budget.limits(whole), file)
    least = dict(zip(budget.costs, search.costs_of(np.concatenate(list(search.smallest().values()))), strict=True))
    over = {name: cost for name, cost in least.items() if cost > limits.final[name]}
    if over:
        said = ", ".join(f"{name}={cost:,}" for name, cost in over.items())
        asked = ", ".join(f"{name}={limits.final[name]:,}" for name in over)
        raise ValueError(
            f"This budget cannot be met: with {minimum} channel{'s' if minimum > 1 else ''} left of each group, "
            f"rounded to {round_to}, the model still has {said}. Give at least that, a smaller minimum or round_to, "
            f"or leave out fewer layers. Received: {asked}"
        )
    if all(limits.final[name] >= cost for name, cost in whole.items()):
        costing, allowed = (", ".join(f"{name}={part[name]:,}" for name in whole) for part in (whole, limits.final))
        warnings.warn(
            "The whole model is within this budget as it is, so nothing will be removed: give a count below what it "
            f"costs, or a share below 1. Received: {allowed} for a model of {costing}",
            PruningWarning,
            stacklevel=4,
        )
    return limits


@dataclasses.dataclass(frozen=True)
class BudgetFit:
    """The channels that a budget leaves.

    Args:
      keep: keep-mask by group, for `remove_channels` and `shrink_model`.
      costs: what is left, by cost; bytes are an estimate.
      limits: what the budget allows.
      floored: groups of which as few channels stay as may.
    """

    keep: dict[str, np.ndarray]
    costs: dict[str, int]
    limits: dict[str, int]
    floored: tuple[str, ...]


def fit_budget(
    model: Any,
    scores: Mapping[str, Any],
    budget: Budget | float,
    *,
    minimum: int = 1,
    round_to: int = 1,
    groups: ChannelGroups | None = None,
) -> BudgetFit:
    """Returns the largest set of the best channels that is within a budget; never over it.

    The costs of what would be left are counted exactly, without building it (bytes: estimated), for one threshold over
    all groups, which is searched for. Where bytes are limited, the file is made, and the search made again while it
    comes out too large.

    Args:
      model: a built Sequential or Functional tf_keras model.
      scores: group name → score of each channel, `(size,)`; the largest stay, whatever their group. Groups that are not
        named stay whole (`channel_groups(model)` has the names).
      budget: a `Budget`, or the share of the parameters to remove.
      minimum: how many channels of each group stay at least.
      round_to: the number kept of each group is a multiple of this, as far as the group goes.
      groups: of `model`, where they are known already.

    Raises:
      TypeError: `budget` is neither a Budget nor a number.
      ValueError: no scores, an unknown group, scores of the wrong length or not finite; the budget cannot be met, with
        what could be.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(4, input_shape=(3,), name="hidden"), keras.layers.Dense(2)])
    >>> fit = fit_budget(net, {"hidden": [0.3, 0.1, 0.4, 0.2]}, Budget(parameters=0.6))
    >>> fit.keep["hidden"].tolist(), fit.costs, fit.limits
    ([True, False, True, False], {'parameters': 14}, {'parameters': 15})
    """
    groups = channel_groups(model) if groups is None else groups
    values = _checked_scores(groups, scores)
    costs = ChannelCosts(groups)
    limits = resolve_limits(as_budget(budget), costs, list(scores), minimum=minimum, round_to=round_to)
    for _ in range(_CONVERSIONS):
        search = ChannelSearch(groups, list(scores), limits.terms(costs), costs, minimum=minimum, round_to=round_to)
        fitted = search.within(tf.constant(values), limits.at(tf.zeros([], tf.float64)), keep_ties=False)
        if limits.file is None:
            break
        small = plan_removal(groups.model, search.split(fitted.keep.numpy()), groups=groups).apply()
        scale, offset, recipe = limits.file
        real = file_bytes(small, recipe)
        if real <= limits.final["bytes"]:
            break
        estimate = float(fitted.costs[list(limits.final).index("bytes")])
        limits = dataclasses.replace(limits, file=(scale, offset + real - estimate, recipe))
    floored = tuple(name for name, each in zip(search.names, fitted.floored.numpy(), strict=True) if each)
    found = dict(zip(limits.final, as_counts(fitted.costs), strict=True))
    if any(cost > limits.final[name] for name, cost in found.items()):
        raise ValueError(
            "The best channels of each group cost more than the budget, though others would not: give more, or a "
            f"smaller minimum or round_to. Received: {dict(limits.final)}, and {found} at least"
        )
    return BudgetFit(search.split(fitted.keep.numpy()), found, dict(limits.final), floored)


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

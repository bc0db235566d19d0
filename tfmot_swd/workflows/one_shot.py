"""First guess of how small a model can become, from one-shot pruning without any training."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.criteria import resolve_criterion
from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.scores import scores_of_plan
from tfmot_swd.costs.cost import Cost, count_terms
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.search import ChannelSearch
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job

# Half steps in the logarithm to the base 2, from three quarters on.
_SHARES = tuple(0.75 * 2 ** (-step / 2) for step in range(12))
# Of what the metric has to lose, that one-shot pruning may lose at the first guess.
_LOST = 0.75


class OneShot:
    """A model without its weakest channels, at any share of one cost.

    Args:
      model: of tf_keras.
      goal: which layers, and in which multiples.
      cost: that is limited.

    Attributes:
      least: the share that is left with the fewest channels, where only those of frozen layers all stay.
      frozen: the names of these layers.

    Raises:
      ValueError: no channel can be removed.
    """

    def __init__(self, model: Any, goal: Goal, cost: Cost) -> None:
        plan = plan_channels(model, layers="all", **goal.layers)
        if not plan.ranked:
            raise ValueError(f"No channel of this model can be removed. Received: {plan.summary()}")
        self.frozen = plan.frozen_layers
        scores = scores_of_plan(plan, resolve_criterion("auto", of_weights=True))
        self._groups, self._values = plan.groups, tf.constant(np.concatenate(list(scores.values())), tf.float32)
        costs, names = ChannelCosts(plan.groups), list(scores)
        sizes = {"minimum": 1, "round_to": goal.round_to}
        smallest = ChannelSearch(plan.groups, names, [], costs, **sizes).smallest()
        if cost.estimated:
            # As for the budget of a training, whose estimate knows frozen layers as small ones too: a share that is
            # least by another estimate would be out of its reach.
            wrapped = [row.group for row in plan.wrapped]
            cost = cost.calibrated(costs, ChannelSearch(plan.groups, wrapped, [], costs, **sizes).smallest())
        self._search = ChannelSearch(plan.groups, names, [count_terms(cost, costs)], costs, **sizes)
        self._whole = self._cost_of(np.ones(self._search.channels, bool))
        self.least = self._cost_of(np.concatenate(list(smallest.values()))) / self._whole

    def model(self, share: float) -> Any:
        """Returns a tf_keras model with at most this share of the cost left, of the best channels."""
        limits = tf.constant([max(share, self.least) * self._whole], tf.float64)
        keep = self._search.within(self._values, limits, keep_ties=False).keep.numpy()
        return plan_removal(self._groups.model, self._search.split(keep), groups=self._groups).apply(keras2=True)

    def _cost_of(self, keep: np.ndarray) -> float:
        (found,) = self._search.costs_of(keep)
        return float(found)


def first_guess(one_shot: OneShot, job: Job) -> float:
    """Returns the smallest share, of some, at which one-shot pruning leaves a quarter of what the metric has to lose.

    That is the way from the metric of the whole model to the one at the least share. A training recovers most of the
    loss, so this is where to begin and not where to end. It takes four or five measurements and no training.
    """
    shares = [each for each in _SHARES if each > one_shot.least] or [one_shot.least]
    worst = job.measured(one_shot.model(shares[-1]))
    lost = job.objective.drop(job.baseline, worst)
    low, high = 0, len(shares) - 1
    if not lost > 0:
        # Nothing is lost at all, or the outputs are not finite.
        return shares[-1] if lost <= 0 else shares[len(shares) // 2]
    # The last share that holds is in [low, high).
    while high - low > 1:
        middle = (low + high) // 2
        drop = job.objective.drop(job.baseline, job.measured(one_shot.model(shares[middle])))
        low, high = (middle, high) if drop <= _LOST * lost else (low, middle)
    return shares[low]

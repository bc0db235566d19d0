"""Methods that take out channels from trained weights: a case's training and a share of the parameters in."""

from __future__ import annotations

from collections.abc import Callable

import tf_keras as keras

import tfmot_swd
from examples.channel_methods import Scores, l1_shares
from research.case import Training, WarmUpAndFall


def progressive(training: Training, rate: float, pruning_epochs: int, criterion: str = "rpgp") -> keras.Model:
    """Progressive Gradient Pruning with a geometric schedule in the first epochs; the rest trains what is left."""
    schedule = tfmot_swd.ProgressiveRate(budget_of(rate), pruning_epochs, "geometric")
    pruned = tfmot_swd.prune_progressive_gradient(training.build(), schedule, criterion, layers="all")
    training.fit(pruned, [tfmot_swd.UpdatePruningStep()])
    return tfmot_swd.strip_pruning(pruned)


def once(training: Training, rate: float, scores: str, restart: float) -> keras.Model:
    """Channels leave before the first update; retraining under a linearly falling learning rate (arXiv 2111.00843).

    Args:
      training: of the case.
      rate: share of the parameters that leaves.
      scores: a key of `SCORES`.
      restart: learning rate to begin with, as a share of the peak.
    """
    model = training.build()
    fitted = tfmot_swd.costs.fit_budget(model, SCORES[scores](model), budget_of(rate))
    small = tfmot_swd.channels.remove_channels(model, fitted.keep)
    # As for single weights: the cut is at the first update, and the fall begins there.
    schedule = WarmUpAndFall(training.learning_rate, training.steps, restart=(1, restart * training.learning_rate))
    training.fit(small, schedule=schedule)
    return small


def budget_of(rate: float) -> tfmot_swd.Budget:
    """Returns the budget that leaves the rest of the parameters."""
    return tfmot_swd.Budget(sparsity=rate)


def _magnitudes(model: keras.Model) -> Scores:
    scores: Scores = tfmot_swd.channels.channel_scores(model, criterion="magnitude")
    return scores


# How channels are ranked where all leave at once: L1 norms with equal rates for all groups, or one threshold for all.
SCORES: dict[str, Callable[[keras.Model], Scores]] = {"l1": l1_shares, "magnitude": _magnitudes}

"""Progressive Gradient Pruning on a Keras model: the entry function that puts the wrappers on."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from absl import logging

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.channels.groups import parts_of
from tfmot_swd.channels.plan import ChannelPlan, channel_plan
from tfmot_swd.costs.budget import Budget
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pgp.budget_rate import with_rate
from tfmot_swd.pgp.ranking import Ranked, any_leaves
from tfmot_swd.pgp.schedule import ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.dense_kernels import warn_of_unknown_kernels
from tfmot_swd.pruning.wrapped_models import check_can_wrap
from tfmot_swd.pruning.wrapping import wrap_with


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
    """Returns a copy of `model` whose filters leave while it trains; the original stays as it is.

    After each epoch of the schedule the filters of each layer are ranked; of the weak ones a share is removed from
    the model, its optimizer's state and its training step; the others are set to zero (soft pruning)
    and ranked again. After the last epoch of the schedule all weak ones leave. Compile the result, fit it with
    `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`.

    Source: Nguyen-Meidine et al., "Progressive Gradient Pruning for Classification, Detection and Domain Adaptation",
    arXiv 1906.08746.

    Args:
      model: a built tf_keras Sequential or Functional model, nested models included.
      schedule: a `ProgressiveRate`.
      criterion: "rpgp" (sum of gradient norms, seen during training), "pgp" (norm of the summed gradient, in a pass
        of its own), "weight_change", "weight_taylor", "feature_taylor", "random"; of the weights alone "l1", "l2",
        "geometric_median", and those of `StructuredDecay`, which rank groups and know no `reduction`; or a
        `ChannelCriterion`. Gradients are those of the whole loss, before clipping, momentum and weight decay, and
        without the regularizers of the weights themselves. "pgp" is the formula; the authors' released pass adds onto
        the gradient that the last training batch left behind, and ranks differently.
      hard_share: share of the weak filters that are removed at once, in [0, 1]; the weakest.
      reduction: how filters that an addition joins are ranked: by the convolution nearest to the input ("leader", as
        published), or by the "sum" or "mean" over all that make them.
      scope: "layer" prunes each layer at the same rate, as published; "global" compares over all.
      soft_reset: what is set to zero of a soft-pruned filter: "all" (kernel, bias, batch norm; as published), after
        which it gets no gradient any more if a batch norm or a ReLU follows, or its "kernel" alone, from which it can
        come back if the constant that its bias or batch norm makes of it passes the ReLU.
      reset_slots: whether what the optimizer keeps for the weights that are set to zero is set to zero too.
      layers: "convolutions", as published, or "all"; see `plan_channels`.
      skip, only: names of layers whose channels stay, or of those whose channels alone may leave; see `plan_channels`.
      round_to: the number of filters kept is a multiple of this, where the layer has as many.
      minimum: how many filters of each layer stay at least.
      seed: of the "random" criterion.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions.

    Raises:
      TypeError: `model` is no tf_keras model, `schedule` no `ProgressiveRate`, `criterion` neither a name nor a
        `ChannelCriterion`.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to prune; an
        argument is outside its range; a budget cannot be met, with what could be.

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
    check_can_wrap(model)
    plan = channel_plan(model, layers=layers, skip=skip, only=only)
    if not plan.wrapped:
        raise ValueError(f"No filter of this model can be pruned. Received: {plan.summary()}")
    pruned = _wrap(model, with_rate(schedule, settings, plan), settings, plan)
    # Of a budget that the whole model meets is told where it is resolved.
    if not isinstance(schedule.final_rate, Budget):
        _warn_unless_any_leaves(schedule, settings, plan)
    warn_of_unknown_kernels(plan, LayerChoice(skip, only))
    if len(plan.ranked) < len(plan.rows):
        logging.info("tfmot_swd leaves whole: %s", plan.summary())
    return pruned


def _warn_unless_any_leaves(schedule: ProgressiveRate, settings: ProgressiveSettings, plan: ChannelPlan) -> None:
    parts, share = parts_of(plan.groups), schedule.share_left(schedule.epochs)
    ranked = [
        Ranked(row.group, row.channels, np.zeros(row.channels), tuple(parts.get(row.group, ()))) for row in plan.wrapped
    ]
    minimum, round_to = settings.minimum, settings.round_to
    if not any_leaves(ranked, share, scope=settings.scope, minimum=minimum, round_to=round_to):
        most = max(row.channels for row in plan.wrapped)
        warnings.warn(
            "None of the filters will leave, even after the last epoch: the rate is less than one filter of each "
            "group, or minimum and round_to keep them all. Raise final_rate, or lower minimum or round_to. "
            f"Received: final_rate={schedule.final_rate:g}, minimum={minimum}, round_to={round_to}, "
            f"at most {most} filters in a group",
            PruningWarning,
            stacklevel=3,
        )


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
            # Where filters are concatenated before an addition, each channel has a leader of its own.
            leader[channels] = np.where(leader[channels] == "", member.layer, leader[channels])
            wrapped[id(layers[member.layer])].enlist(member.weight, filters, leader[channels] == member.layer)
    return pruned

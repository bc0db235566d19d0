"""Selective Weight Decay on a Keras model: the entry functions that put the wrappers on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from absl import logging

from tfmot_swd._compat import PruningPolicy
from tfmot_swd.cloning import wrap_with
from tfmot_swd.plan import PruningPlan, plan_pruning
from tfmot_swd.pruning_wrapper import check_can_wrap
from tfmot_swd.schedules import SelectiveDecay
from tfmot_swd.structured.entry import wrap_channels
from tfmot_swd.structured.schedule import StructuredDecay
from tfmot_swd.wrappers import PruneSelectiveDecay


def prune_selective_decay(
    model: Any,
    schedule: SelectiveDecay | StructuredDecay,
    *,
    skip: Collection[str] = (),
    pruning_policy: PruningPolicy | None = None,
) -> Any:
    """Returns a copy of `model` that trains with Selective Weight Decay; the original stays as it is.

    Layers that own prunable weights are wrapped, the others are copied; a layer that cannot be pruned
    stays whole and is listed in the log (`plan_pruning` shows the list beforehand). Compile the result,
    fit it with `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`.

    With a `StructuredDecay` whole channels are decayed, until the net without them is within a budget, and
    `strip_pruning` returns that net; `plan_channels(model, layers="all")` shows which channels are ranked.

    Args:
      model: a built tf_keras Sequential or Functional model, nested models included.
      schedule: a `SelectiveDecay`, or a `StructuredDecay`.
      skip: names of layers to leave whole; with a `StructuredDecay` they keep the channels that they make or act on.
      pruning_policy: a TFMOT `PruningPolicy`; layers it does not allow are left whole. Not with a `StructuredDecay`.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions.

    Raises:
      TypeError: `model` is no tf_keras model, or `schedule` none of the two.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to
        prune; `skip` names a layer that does not exist; the budget cannot be met, with what could be.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> pruned = prune_selective_decay(net, SelectiveDecay(final_sparsity=0.5, end_step=10))
    >>> [type(layer).__name__ for layer in pruned.layers]
    ['PruneSelectiveDecay']
    """
    if not isinstance(schedule, SelectiveDecay | StructuredDecay):
        raise TypeError(
            "schedule must be a tfmot_swd.SelectiveDecay, for example "
            "SelectiveDecay(final_sparsity=0.9, end_step=steps), or a tfmot_swd.StructuredDecay. "
            f"Received: {type(schedule).__name__}"
        )
    check_can_wrap(model)
    if isinstance(schedule, StructuredDecay):
        if pruning_policy is not None:
            raise ValueError(
                "A pruning policy says which layers may have zeros, not which channels may leave: name layers to leave "
                f"whole with skip. Received: pruning_policy={pruning_policy!r} with a StructuredDecay"
            )
        return wrap_channels(model, schedule, skip)
    if pruning_policy is not None:
        pruning_policy.ensure_model_supports_pruning(model)
    plan = plan_pruning(model, targets=schedule.targets, skip=skip, pruning_policy=pruning_policy)
    if not plan.pruned:
        raise ValueError(
            "Nothing in this model can be pruned: no trainable layer that is left has weights which "
            f"SWD counts. Received: {plan.summary()}"
        )
    pruned = _wrap(model, schedule, plan)
    if plan.skipped:
        logging.info("tfmot_swd leaves whole: %s", plan.summary())
    return pruned


def _wrap(model: Any, schedule: SelectiveDecay, plan: PruningPlan) -> Any:
    wanted = plan.layers()

    def wrap(layer: Any, inner: Any) -> Any:
        return PruneSelectiveDecay(inner, schedule) if id(layer) in wanted else inner

    return wrap_with(model, wrap)

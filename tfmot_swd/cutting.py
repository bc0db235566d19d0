"""Ends the pruning of a wrapped model at once, wherever its schedule stands."""

from __future__ import annotations

from typing import Any

from tfmot_swd.forward_pool import weight_pool_of
from tfmot_swd.progressive.run import finish_now
from tfmot_swd.progressive.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning_wrapper import collect_wrappers
from tfmot_swd.structured.channel_pool import ChannelPool
from tfmot_swd.structured.wrapper import PruneStructuredDecay
from tfmot_swd.validation import check_is_model


def cut_now(model: Any) -> None:
    """Prunes a wrapped model to its final rate at once, wherever its schedule stands; `strip_pruning` works then.

    For a training that ended early. The accuracy drops unless the training had time to prepare it. With Progressive
    Gradient Pruning filters are ranked by what the running epoch has shown so far; where that is nothing, as after a
    fit or in a model from a file, by the L1 norm of their weights.

    Raises:
      TypeError: `model` is no tf_keras model.
      ValueError: the model is not wrapped for pruning.
    """
    check_is_model(model)
    if collect_wrappers(model, PruneProgressiveGradient):
        finish_now(model)
    elif collect_wrappers(model, PruneStructuredDecay):
        ChannelPool.of(model).finish()
    else:
        weight_pool_of(model).finish()

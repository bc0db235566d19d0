"""Ends the pruning of a wrapped model at once, wherever its schedule stands."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.validation import check_is_model
from tfmot_swd.pgp.run import finish_now
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.final_step import tell_of_final_step
from tfmot_swd.pruning.schedule_end import latest_update, set_end
from tfmot_swd.pruning.wrapper import collect_wrappers
from tfmot_swd.swd.forward_pool import weight_pool_of
from tfmot_swd.swd.monitor import cut_and_report
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.structured.pool import ChannelPool
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


def cut_now(model: Any) -> None:
    """Prunes a wrapped model to its final rate at once, wherever its schedule stands; `strip_pruning` works then.

    For a training that ended early. The accuracy drops unless the training had time to prepare it. With Progressive
    Gradient Pruning filters are ranked by what the running epoch has shown so far; where that is nothing, as after a
    fit or in a model from a file, by the L1 norm of their weights.

    Layers that are frozen are left whole, and count neither as pruned nor as to be pruned. It warns of those, of layers
    that lose all their weights, and of a budget that is missed, as the final pruning step of a training does.

    Raises:
      TypeError: `model` is no tf_keras model.
      ValueError: the model is not wrapped for pruning.
    """
    check_is_model(model)
    if collect_wrappers(model, PruneProgressiveGradient):
        finish_now(model)
        return
    # How many steps an epoch would have had makes no difference to the end.
    set_end(model, steps_per_epoch=latest_update(model) + 1)
    channels = bool(collect_wrappers(model, PruneStructuredDecay))
    pool: DecayPool[Any] = ChannelPool.of(model) if channels else weight_pool_of(model)
    report = cut_and_report(pool)
    run = pool.leader.run
    if isinstance(run, SelectiveRun):
        # It would take it for a final pruning step that was made in graph.
        run.note_cut(report)
    tell_of_final_step(model, pool, report)

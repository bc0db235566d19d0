"""AC/DC as a pruning method: wrapper, masks, run and registration."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from examples.acdc.schedule import AlternatingPhases
from tfmot_swd import plan_pruning
from tfmot_swd.pruning import (
    MaskPool,
    MaskRun,
    MaskStatus,
    MaskWrapper,
    PruningMethod,
    Target,
    register_method,
    wrap_prunable_layers,
)


@keras.utils.register_keras_serializable("acdc")
class PruneAlternating(MaskWrapper):
    """Wraps a layer for AC/DC."""


class AlternatingPool(MaskPool[PruneAlternating]):
    """Chooses masks where a phase begins: the largest weights of all, or all of them."""

    wrapper_class = PruneAlternating

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        return self.schedule.begins_phase(step)

    def choose(self, step: tf.Tensor) -> list[tf.Tensor]:
        compressed = self.global_masks(self.schedule.final_sparsity)
        is_compressed = self.schedule.is_compressed(step)
        return [tf.where(is_compressed, mask, tf.ones_like(mask)) for mask in compressed]

    def end(self) -> int:
        return int(self.schedule.end_step)


class AlternatingRun(MaskRun):
    """One training by AC/DC."""

    wrapper_class = PruneAlternating
    pool_class = AlternatingPool


def prune_acdc(model: Any, schedule: AlternatingPhases, **layers: Any) -> Any:
    """Returns a copy of `model` that trains with AC/DC; `layers` are `skip` and `only`, as in `plan_pruning`."""
    return wrap_prunable_layers(model, lambda layer: PruneAlternating(layer, schedule), **layers)


def _wrap_to(model: Any, target: Target, **layers: Any) -> Any:
    # A tenth dense, then phases of a tenth, and the last quarter compressed.
    phase = max(target.steps // 10, 1)
    schedule = AlternatingPhases(target.rate or 0.0, phase, max(round(0.75 * target.steps), 1), phase)
    return prune_acdc(model, schedule, **layers)


METHOD = register_method(
    PruningMethod(
        name="acdc",
        title="AC/DC",
        wrapper=PruneAlternating,
        run=AlternatingRun,
        status=MaskStatus,
        schedules=(AlternatingPhases,),
        wrap=prune_acdc,
        wrap_layer=PruneAlternating,
        wrap_to=_wrap_to,
        plan=plan_pruning,
        rate_of="the weights",
        takes_budget=False,
        summary="weights are pruned and set free in turn",
    )
)

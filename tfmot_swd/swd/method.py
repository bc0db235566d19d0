"""Registration of Selective Weight Decay, of single weights and of whole channels."""

from __future__ import annotations

import functools
from typing import Any

from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.pruning.plan import plan_pruning
from tfmot_swd.swd.entry import prune_selective_decay
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.structured.monitor import StructuredStatus
from tfmot_swd.swd.structured.run import StructuredRun
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay
from tfmot_swd.swd.wrapper import PruneSelectiveDecay


def _wrap_weights_to(model: Any, target: Target, **layers: Any) -> Any:
    return prune_selective_decay(model, SelectiveDecay(target.rate, target.steps), **layers)


WEIGHTS = register_method(
    PruningMethod(
        name="swd",
        title="Selective Weight Decay",
        wrapper=PruneSelectiveDecay,
        run=SelectiveRun,
        status=PruningStatus,
        schedules=(SelectiveDecay,),
        wrap=prune_selective_decay,
        wrap_layer=PruneSelectiveDecay,
        wrap_to=_wrap_weights_to,
        plan=plan_pruning,
        rate_of="the weights",
        takes_budget=False,
        summary="single weights become zero",
    )
)


def _wrap_channels_to(model: Any, target: Target, **layers: Any) -> Any:
    schedule = StructuredDecay(target.as_budget(), target.steps, round_to=target.round_to)
    return prune_selective_decay(model, schedule, **layers)


CHANNELS = register_method(
    PruningMethod(
        name="structured",
        title="Selective Weight Decay of channels",
        wrapper=PruneStructuredDecay,
        run=StructuredRun,
        status=StructuredStatus,
        schedules=(StructuredDecay,),
        wrap=prune_selective_decay,
        wrap_layer=None,
        wrap_to=_wrap_channels_to,
        plan=functools.partial(plan_channels, layers="all"),
        rate_of="the parameters",
        takes_budget=True,
        summary="whole channels are decayed until the rest is within a budget",
    )
)

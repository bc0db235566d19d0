"""Registration of Selective Weight Decay of whole channels."""

from __future__ import annotations

import functools
from typing import Any

from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.swd.entry import prune_selective_decay
from tfmot_swd.swd.structured.monitor import StructuredStatus
from tfmot_swd.swd.structured.run import StructuredRun
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


def _wrap_to(model: Any, target: Target, **layers: Any) -> Any:
    schedule = StructuredDecay(target.as_budget(), target.steps, round_to=target.round_to)
    return prune_selective_decay(model, schedule, **layers)


METHOD = register_method(
    PruningMethod(
        name="structured",
        title="Selective Weight Decay of channels",
        wrapper=PruneStructuredDecay,
        run=StructuredRun,
        status=StructuredStatus,
        schedules=(StructuredDecay,),
        wrap=prune_selective_decay,
        wrap_layer=None,
        wrap_to=_wrap_to,
        plan=functools.partial(plan_channels, layers="all"),
        rate_of="the parameters",
        takes_budget=True,
        summary="whole channels are decayed until the rest is within a budget",
    )
)

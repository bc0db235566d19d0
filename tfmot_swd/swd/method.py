"""Registration of Selective Weight Decay of single weights."""

from __future__ import annotations

from typing import Any

from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.pruning.plan import plan_pruning
from tfmot_swd.swd.entry import prune_selective_decay
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.wrapper import PruneSelectiveDecay


def _wrap_to(model: Any, target: Target, **layers: Any) -> Any:
    return prune_selective_decay(model, SelectiveDecay(target.rate, target.steps), **layers)


METHOD = register_method(
    PruningMethod(
        name="swd",
        title="Selective Weight Decay",
        wrapper=PruneSelectiveDecay,
        run=SelectiveRun,
        status=PruningStatus,
        schedules=(SelectiveDecay,),
        wrap=prune_selective_decay,
        wrap_layer=PruneSelectiveDecay,
        wrap_to=_wrap_to,
        plan=plan_pruning,
        rate_of="the weights",
        takes_budget=False,
        summary="single weights become zero",
    )
)

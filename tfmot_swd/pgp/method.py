"""Registration of Progressive Gradient Pruning."""

from __future__ import annotations

import functools
from typing import Any

from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.pgp.entry import prune_progressive_gradient
from tfmot_swd.pgp.run import ProgressiveRun
from tfmot_swd.pgp.schedule import ProgressiveRate
from tfmot_swd.pgp.status import ProgressiveStatus
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method

# Share of the epochs in which filters leave; those that remain fine-tune.
_PRUNING_SHARE = 2 / 3


def _wrap_to(model: Any, target: Target, **layers: Any) -> Any:
    final: Any = target.rate if target.budget is None else target.budget
    schedule = ProgressiveRate(final, max(round(_PRUNING_SHARE * target.epochs), 1), "geometric")
    return prune_progressive_gradient(model, schedule, layers="all", round_to=target.round_to, **layers)


METHOD = register_method(
    PruningMethod(
        name="pgp",
        title="Progressive Gradient Pruning",
        wrapper=PruneProgressiveGradient,
        run=ProgressiveRun,
        status=ProgressiveStatus,
        schedules=(ProgressiveRate,),
        wrap=prune_progressive_gradient,
        wrap_layer=None,
        wrap_to=_wrap_to,
        plan=functools.partial(plan_channels, layers="all"),
        rate_of="the filters of each layer",
        takes_budget=True,
        summary="filters leave, by their gradients",
    )
)

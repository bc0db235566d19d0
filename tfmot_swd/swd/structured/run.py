"""Training run of structured Selective Weight Decay, and the check of the result against the budget."""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_swd.costs.limits import CostLimits
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.run import RunOptions
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.pruning.wrapped_models import IN_THE_WRAPPED_MODEL
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.structured.monitor import ChannelMonitor
from tfmot_swd.swd.structured.pool import ChannelPool
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


class StructuredRun(SelectiveRun):
    """A `SelectiveRun` of whole channels, which checks the result against its budget."""

    wrapper_class = PruneStructuredDecay
    monitor_class = ChannelMonitor

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        super().__init__(model, options, params)
        if self._pool.waits and not self._pool.is_pruned and not options.partial_fit:
            pool: Any = self._pool
            warnings.warn(
                "The budget cannot be met while so many layers are frozen, so nothing is decayed, and the final "
                f"pruning step would remove undecayed channels: set layer.trainable = True {IN_THE_WRAPPED_MODEL}, "
                "compile and fit before it. "
                f"Received: {dict(pool.limits.final)}, and {pool.search.channels} channels in layers that are trained",
                PruningWarning,
                stacklevel=4,
            )

    @classmethod
    def pool_of(cls, model: Any) -> DecayPool[Any]:
        return ChannelPool.of(model)

    @classmethod
    def problems_after(cls, pool: Any) -> tuple[str, ...]:
        return over_budget(pool)


def over_budget(pool: ChannelPool) -> tuple[str, ...]:
    """Returns warnings where the pruned network is over its budget, or its costs cannot be counted; else nothing."""
    limits = pool.limits.final
    left = dict(zip(limits, pool.search.costs_of(pool.left()), strict=True))
    found = []
    if pool.has_unknown_readers:
        # What frozen layers and products keep, only the built network shows.
        try:
            left |= _built_costs(strip_pruning(pool.graph, keras2=True), pool.limits)
        except Exception as error:
            # The training is over: a failure here must not cost its result.
            found.append(
                "The pruned network could not be built to count its costs, so it may be over its budget: "
                "check it with tfmot_swd.costs.profile. "
                f"Received: {type(error).__name__}: {error}"
            )
    over = {name: cost for name, cost in left.items() if cost > limits[name]}
    if over:
        found.append(
            "The pruned network is over its budget: layers were frozen since it was wrapped, or a product of two "
            "tensors has factors that are not zero where the channels are, as the sigmoid of queries; or the best "
            "channels of each group, some of which minimum and round_to keep, cost more than others. "
            f"Received: {over} in place of {dict(limits)}"
        )
    return tuple(found)


def _built_costs(small: Any, limits: CostLimits) -> dict[str, Any]:
    """Returns the limited costs of a built network, without those that are estimates."""
    costs = {name: limits.cost(name) for name in limits.final}
    # A user's own cost may count without sizes.
    sizes = () if limits.input_shape is None else (limits.input_shape,)
    return {name: cost.of(small, *sizes) for name, cost in costs.items() if not cost.estimated}

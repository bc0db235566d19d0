"""Whether the net that the final pruning step has left is within its budget."""

from __future__ import annotations

from typing import Any

from tfmot_swd.costs.limits import CostLimits
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.swd.structured.pool import ChannelPool


def over_budget(pool: ChannelPool) -> tuple[str, ...]:
    """Returns sentences to warn with where what is left costs more than is allowed, or cannot be counted; else none."""
    limits = pool.limits.final
    left = dict(zip(limits, pool.search.costs_of(pool.left()), strict=True))
    found = []
    if pool.has_frozen_readers:
        # Frozen layers keep constants that they read, which only the smaller net knows.
        try:
            left |= _built_costs(strip_pruning(pool.graph), pool.limits)
        except Exception as error:
            # The training is over: whatever is wrong here must not take the result away.
            found.append(
                "The net that the final pruning step has left could not be built to count what it costs with the "
                "layers that are frozen, so that it may be over its budget: check it with tfmot_swd.costs.profile. "
                f"Received: {type(error).__name__}: {error}"
            )
    over = {name: cost for name, cost in left.items() if cost > limits[name]}
    if over:
        found.append(
            "The net that the final pruning step has left is over its budget: layers were frozen since it was "
            "wrapped, or the best channels of each group, of which minimum and round_to keep some, cost more than "
            f"others. Received: {over} in place of {dict(limits)}"
        )
    return tuple(found)


def _built_costs(small: Any, limits: CostLimits) -> dict[str, Any]:
    """Returns the costs of a built net, of those that are limited and no estimates."""
    costs = {name: limits.cost(name) for name in limits.final}
    return {name: cost.of(small) for name, cost in costs.items() if not cost.estimated}

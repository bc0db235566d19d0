"""One training by Selective Weight Decay on whole channels."""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.run import RunOptions
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.structured.monitor import ChannelMonitor
from tfmot_swd.swd.structured.over_budget import over_budget
from tfmot_swd.swd.structured.pool import ChannelPool
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay


class StructuredRun(SelectiveRun):
    """As `SelectiveRun`, with channels in the place of weights."""

    wrapper_class = PruneStructuredDecay
    monitor_class = ChannelMonitor

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        super().__init__(model, options, params)
        if self._pool.waits and not self._pool.is_cut and not options.partial_fit:
            pool: Any = self._pool
            warnings.warn(
                "The budget cannot be met while so many layers are frozen, so nothing is decayed, and the final "
                "pruning step would remove what it can: set layer.trainable = True, compile and fit before it. "
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

"""What the final pruning step did, whoever made it: the callback, `cut_now` or the training step itself, in graph."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.pruning.run import warn_of_frozen
from tfmot_swd.pruning.wrapper import collect_wrappers
from tfmot_swd.swd.monitor import CutReport
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.structured.over_budget import over_budget
from tfmot_swd.swd.structured.pool import ChannelPool


def report_of_cut(pool: DecayPool[Any]) -> CutReport:
    """Returns what a final pruning step removed that was made in graph: by the masks, and by what it noted."""
    removed = sum(
        int(np.count_nonzero(np.broadcast_to(mask.numpy() == 0, weight.shape))) for weight, mask in pool.targets()
    )
    noted = pool.noted
    whole = noted.squares_kept + noted.squares_removed
    return CutReport(
        step=noted.step,
        removed=removed,
        largest_removed=noted.largest_removed,
        removed_norm=float(np.sqrt(noted.squares_removed / whole)) if whole else 0.0,
        removed_shares=noted.shares,
        floored=pool.floored(),
        losses=tuple(pool.losses()),
    )


def tell_of_final_step(model: Any, pool: DecayPool[Any], report: CutReport) -> None:
    """Warns of what the final pruning step left whole, of what it took that it should not, and of a missed budget."""
    warn_of_frozen(model, collect_wrappers(model, pool.wrapper_class))
    for problem in report.losses + (over_budget(pool) if isinstance(pool, ChannelPool) else ()):
        warnings.warn(problem, PruningWarning, stacklevel=4)

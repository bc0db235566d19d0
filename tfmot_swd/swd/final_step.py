"""Report of the final pruning step of Selective Weight Decay."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.run import warn_of_frozen
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.removed_share import removed_shares


@dataclasses.dataclass(frozen=True)
class CutReport:
    """What the final cut removed, and what it changed.

    Args:
      step: the update after which it was made.
      removed: number of weights set to zero, batch-norm and biases included where those are targets.
      largest_removed: the largest magnitude among them, measured just before.
      removed_norm: their Euclidean norm, as a share of that of all target weights.
      removed_shares: by layer, the norm of the removed weights over that of those that stay: about how much the layer's
        outputs change. Weights that are not decayed on their own do not count.
      floored: layers with a kernel that keeps weights below the threshold, as few as `minimum_kept` says.
      losses: what is to be said of layers of which the threshold leaves nothing; empty where there are none.
      before, after: what `evaluate` returned on the callback's validation data; None without.
    """

    step: int
    removed: int
    largest_removed: float
    removed_norm: float
    removed_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    floored: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    before: dict[str, float] | None = None
    after: dict[str, float] | None = None


def cut_and_report(pool: DecayPool[Any]) -> CutReport:
    """Makes the final cut and reports what it removed."""
    before = [weight.numpy().astype(np.float64) for weight, _ in pool.targets()]
    decayed = [(layer, weight, weight.numpy()) for layer, weight, _ in pool.decayed_by_layer()]
    pool.finish()
    masks = [
        np.broadcast_to(mask.numpy(), values.shape) for values, (_, mask) in zip(before, pool.targets(), strict=True)
    ]
    gone = np.concatenate([values[mask == 0] for values, mask in zip(before, masks, strict=True)])
    whole = np.sqrt(sum(float((values**2).sum()) for values in before))
    return CutReport(
        step=pool.step,
        removed=int(gone.size),
        largest_removed=float(np.abs(gone).max(initial=0.0)),
        removed_norm=float(np.sqrt((gone**2).sum()) / whole) if whole else 0.0,
        removed_shares=removed_shares((layer, values, weight.numpy() != 0) for layer, weight, values in decayed),
        floored=pool.floored(),
        losses=tuple(pool.losses()),
    )


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


def tell_of_final_step(model: Any, pool: DecayPool[Any], report: CutReport, problems: tuple[str, ...] = ()) -> None:
    """Warns of what the final pruning step left whole, of what it took that it should not, and of other problems."""
    warn_of_frozen(model, collect_wrappers(model, pool.wrapper_class))
    for problem in report.losses + problems:
        warnings.warn(problem, PruningWarning, stacklevel=4)

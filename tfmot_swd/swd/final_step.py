"""Report of the final pruning step of Selective Weight Decay."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from tfmot_swd.io.deprecation import deprecated_names, renamed_attribute
from tfmot_swd.keras2.layer_weights import elements
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras2.weight_values import nonzeros, view_of
from tfmot_swd.pruning.run import warn_of_frozen
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.removed_weights import RemovedSums, removed_shares


@dataclasses.dataclass(frozen=True)
class FinalStepReport:
    """Weights that the final pruning step has removed, and the change of the metrics.

    A decay that has done its work leaves nothing to remove: `largest_removed` is near zero and the metrics before and
    after are the same.

    Args:
      step: the update after which the step was made.
      removed: number of weights set to zero, batch norm and biases included where those are targets.
      largest_removed: the largest magnitude among them, measured just before.
      removed_norm: their Euclidean norm, as a share of that of all target weights.
      removed_shares: by layer, the norm of the removed weights over that of the remaining ones: about the relative
        change of the layer's outputs. Weights that are not decayed by themselves do not count.
      floored: layers with a kernel that keeps weights below the threshold because of `minimum_kept`.
      problems: warnings about layers of which the threshold leaves nothing; empty where there are none.
      before, after: metrics of `evaluate` on the callback's validation data; None without.
    """

    step: int
    removed: int
    largest_removed: float
    removed_norm: float
    removed_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    floored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    before: dict[str, float] | None = None
    after: dict[str, float] | None = None

    losses = renamed_attribute("problems")


def take_final_step(pool: DecayPool[Any]) -> FinalStepReport:
    """Makes the final pruning step, and returns its report."""
    numbers = _finish(pool)
    # Once what was there before is let go of.
    return _report(pool, step=pool.step, **numbers)


def _finish(pool: DecayPool[Any]) -> dict[str, Any]:
    """Makes the final pruning step, and returns the numbers about the weights of before, of which only views exist."""
    before = [view_of(weight) for weight, _ in pool.targets()]
    decayed = [(layer, weight, view_of(weight)) for layer, weight, _ in pool.decayed_by_layer()]
    pool.finish()
    sums = [RemovedSums.of(values, mask) for values, (_, mask) in zip(before, pool.targets(), strict=True)]
    squares_removed = sum(each.squares_removed for each in sums)
    squares = squares_removed + sum(each.squares_kept for each in sums)
    return {
        "removed": sum(each.removed for each in sums),
        "largest_removed": float(np.max([each.largest_removed for each in sums], initial=0.0)),
        "removed_norm": float(np.sqrt(squares_removed) / np.sqrt(squares)) if squares else 0.0,
        "removed_shares": removed_shares((layer, values, weight) for layer, weight, values in decayed),
    }


def report_final_step(pool: DecayPool[Any]) -> FinalStepReport:
    """Returns the report of a final pruning step that was made in graph, from its masks and its recorded norms."""
    # Each entry of a mask stands for as many of the weight as it is broadcast to.
    removed = sum(
        (elements([mask]) - nonzeros(mask)) * (elements([weight]) // elements([mask]))
        for weight, mask in pool.targets()
    )
    noted = pool.noted
    squares = noted.squares_kept + noted.squares_removed
    return _report(
        pool,
        step=noted.step,
        removed=removed,
        largest_removed=noted.largest_removed,
        removed_norm=float(np.sqrt(noted.squares_removed / squares)) if squares else 0.0,
        removed_shares=noted.shares,
    )


def _report(pool: DecayPool[Any], **numbers: Any) -> FinalStepReport:
    return FinalStepReport(**numbers, floored=pool.floored(), problems=tuple(pool.lost_layers()))


def warn_of_final_step(
    model: Any, pool: DecayPool[Any], report: FinalStepReport, problems: tuple[str, ...] = ()
) -> None:
    """Warns of layers that the final pruning step has left dense, of those that it has emptied, and of `problems`."""
    warn_of_frozen(model, collect_wrappers(model, pool.wrapper_class))
    for problem in report.problems + problems:
        warnings.warn(problem, PruningWarning, stacklevel=4)


__getattr__ = deprecated_names(__name__, {"CutReport": f"{__name__}.FinalStepReport"})

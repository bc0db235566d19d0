"""Status of a training by structured Selective Weight Decay, measured without changing it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfmot_swd.pruning.status import Chart, ChartLine, Status
from tfmot_swd.pruning.wrapped_models import plain_name
from tfmot_swd.swd.monitor import decay_charts
from tfmot_swd.swd.structured.pool import ChannelPool


@dataclasses.dataclass(frozen=True)
class StructuredStatus(Status):
    """State of structured Selective Weight Decay after some update.

    Args:
      step: updates begun since the model was wrapped.
      costs: of the net without the channels that are targeted now, or that the cut has left; bytes are an estimate.
      limits: what the schedule allows now, by cost.
      a: a(t); None where the strength is automatic.
      shrink: X of the implicit step; None for the coupled form.
      threshold: score below which a channel is targeted.
      channels: how many are ranked.
      targeted: how many of them are targeted, or cut.
      entered, left: how many came into and went out of the targeted set since the last status.
      penalty: mu · a / 2 · sum of the squares of what is targeted; 0 for the implicit form.
      sizes: channels that are not targeted, by group.
      floored: groups of which as few channels stay as may, though the threshold would take more.
      is_cut: whether the final cut has been made.
      is_finite: whether no score is NaN or infinite.
    """

    log_names: ClassVar[frozenset[str]] = frozenset({"channels_left", "threshold", "a", "shrink", "penalty"})

    step: int
    costs: dict[str, Any]
    limits: dict[str, Any]
    a: float | None
    shrink: float | None
    threshold: float
    channels: int
    targeted: int
    entered: int
    left: int
    penalty: float
    sizes: dict[str, int]
    floored: tuple[str, ...]
    is_cut: bool
    is_finite: bool = True

    @property
    def targeted_share(self) -> float:
        """Targeted channels as a share of those that are ranked."""
        return self.targeted / self.channels

    def logs(self) -> dict[str, Any]:
        """Returns the numbers that join Keras's epoch logs, and so History and the progress bar."""
        logs: dict[str, Any] = {f"{name}_left": float(cost) for name, cost in self.costs.items()}
        logs |= {"channels_left": float(self.channels - self.targeted), "threshold": self.threshold}
        logs |= {} if self.a is None else {"a": self.a}
        return logs | ({"penalty": self.penalty} if self.shrink is None else {"shrink": self.shrink})

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        for cost in states[0]["costs"]:
            left = ChartLine("left", [each["costs"][cost] for each in states])
            limit = ChartLine("allowed", [each["limits"].get(cost) for each in states], is_target=True)
            yield Chart(f"{cost} without what is targeted", "count", [left, limit])
        yield Chart("channels left", "count", [ChartLine("left", [x["channels"] - x["targeted"] for x in states])])
        yield from decay_charts(states)

    def scalars(self) -> dict[str, float]:
        """Returns the numbers for TensorBoard."""
        names = ("a", "shrink", "threshold", "targeted_share", "entered", "left", "penalty")
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for prefix, found in (("left_of", self.costs), ("limit_of", self.limits), ("channels", self.sizes)):
            known |= {f"{prefix}/{name}": float(value) for name, value in found.items()}
        return known


class ChannelMonitor:
    """Measures a pool; remembers the targeted set to count who entered and who left."""

    def __init__(self, pool: ChannelPool) -> None:
        self._pool = pool
        self._targeted: np.ndarray | None = None

    def status(self) -> StructuredStatus:
        """Returns the state now."""
        pool = self._pool
        # The update just made had this index; before the first one it is the first.
        step = max(pool.step - 1, 0)
        scores = pool.scores()
        # Of the weights as they are now: those that were compared last have been moved since by an update.
        fitted = pool.search.within(scores, pool.limits_at(step))
        keep = pool.left() if pool.is_cut or pool.waits else fitted.keep.numpy()
        before = ~keep if self._targeted is None else self._targeted
        self._targeted = ~keep
        strength, schedule = pool.strength, pool.schedule
        automatic = schedule.is_automatic and not strength.coupled
        sizes = {plain_name(name): int(mask.sum()) for name, mask in pool.search.split(keep).items()}
        return StructuredStatus(
            step=pool.step,
            costs=dict(zip(pool.limits.final, pool.search.costs_of(keep), strict=True)),
            limits=pool.limits.amounts(pool.limits_at(step)),
            a=None if automatic else float(schedule.a(step)),
            shrink=None if strength.coupled else float(strength.shrink(step)),
            threshold=float(fitted.threshold),
            channels=pool.search.channels,
            targeted=int(np.count_nonzero(~keep)),
            entered=int(np.count_nonzero(~keep & ~before)),
            left=int(np.count_nonzero(keep & before)),
            penalty=float(pool.penalty(pool.leader)) if strength.coupled else 0.0,
            sizes=sizes,
            floored=tuple(name for name, each in zip(sizes, fitted.floored.numpy(), strict=True) if each),
            is_cut=pool.is_cut,
            is_finite=bool(np.isfinite(scores.numpy()).all()),
        )

"""Status of a training by structured Selective Weight Decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.pruning.status import Chart, ChartLine, Status
from tfmot_swd.pruning.wrapped_models import plain_name
from tfmot_swd.swd.monitor import decay_charts
from tfmot_swd.swd.structured.pool import ChannelPool


@dataclasses.dataclass(frozen=True)
class StructuredStatus(Status):
    """State of a training by structured Selective Weight Decay after an update.

    Args:
      step: updates begun since the model was wrapped.
      costs: of the network without the targeted channels, or as the final pruning step has left it; bytes are an
        estimate.
      limits: largest costs that the schedule allows now.
      a: a(t); None where the strength is automatic.
      shrink: X of the implicit step; None for the coupled form.
      threshold: score below which a channel is targeted.
      channels: number of ranked channels.
      targeted: number of channels that are targeted, or removed by the final pruning step.
      entered, left: numbers of channels that joined and left the targeted set since the last status.
      penalty: mu · a / 2 · sum of the squared weights of targeted channels; 0 for the implicit form.
      sizes: channels that are not targeted, by group.
      floored: groups at their minimum, of which the threshold alone would take more channels.
      is_pruned: whether the final pruning step has been made.
      is_finite: whether all scores are finite.
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
    is_pruned: bool
    is_finite: bool = True

    is_cut = renamed_attribute("is_pruned")

    @property
    def targeted_share(self) -> float:
        """Targeted channels as a share of the ranked ones."""
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
    """Measures the status of a pool; keeps the targeted set to count the channels that enter and leave it."""

    def __init__(self, pool: ChannelPool) -> None:
        self._pool = pool
        self._targeted: np.ndarray | None = None

    def status(self) -> StructuredStatus:
        """Returns the present status."""
        pool = self._pool
        # The update just made had this index; before the first one it is the first.
        step = max(pool.step - 1, 0)
        scores = pool.scores()
        # By the weights as they are now: an update has moved them since they were compared last.
        fitted = pool.search.within(scores, pool.limits_at(step))
        keep = pool.left() if pool.is_pruned or pool.waits else fitted.keep.numpy()
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
            is_pruned=pool.is_pruned,
            is_finite=bool(np.isfinite(scores.numpy()).all()),
        )

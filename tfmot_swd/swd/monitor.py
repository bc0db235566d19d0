"""Status of a training by Selective Weight Decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.keras2.layer_weights import elements
from tfmot_swd.keras2.weight_values import is_finite, nonzeros
from tfmot_swd.pruning.status import Chart, ChartLine, Status
from tfmot_swd.swd.bit_sets import BitSets
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.removed_weights import removed_shares
from tfmot_swd.swd.weight_pool import WeightPool


@dataclasses.dataclass(frozen=True)
class PruningStatus(Status):
    """State of a training by Selective Weight Decay after an update.

    Args:
      step: updates begun since the model was wrapped.
      target_sparsity: share of the prunable weights that the schedule targets now, in [0, 1).
      a: a(t); None where the strength is automatic, and for the forward form.
      shrink: X of the implicit step; None for the other forms.
      threshold: magnitude below which a weight, or the pooled magnitude of its block, is targeted.
      prunable_weights: number of weights that the rate counts.
      targeted: number of prunable weights below the threshold.
      entered, left: numbers of weights that joined and left the targeted set since the last status.
      penalty: mu · a / 2 · sum of squared targeted weights, the part of the loss that is not the
        task's; 0 for the implicit form.
      sparsity: share of exact zeros among the prunable weights, by layer.
      is_pruned: whether the final pruning step has been made.
      is_finite: whether all prunable weights are finite.
      floored: layers with a kernel that keeps weights below the threshold because of `minimum_kept`.
      kernels: number of all kernel weights of the model, prunable or not.
      targeted_kernels: number of kernel weights below the threshold.
    """

    log_names: ClassVar[frozenset[str]] = frozenset(
        {"target_sparsity", "targeted_share", "targeted_kernel_share", "threshold", "a", "shrink", "penalty"}
    )

    step: int
    target_sparsity: float
    a: float | None
    shrink: float | None
    threshold: float
    prunable_weights: int
    targeted: int
    entered: int
    left: int
    penalty: float
    sparsity: dict[str, float]
    is_pruned: bool
    is_finite: bool = True
    floored: tuple[str, ...] = ()
    kernels: int = 0
    targeted_kernels: int = 0

    pool = renamed_attribute("prunable_weights")
    is_cut = renamed_attribute("is_pruned")

    @property
    def targeted_share(self) -> float:
        """Targeted weights as a share of the prunable weights."""
        return self.targeted / self.prunable_weights

    @property
    def targeted_kernel_share(self) -> float:
        """Targeted kernel weights as a share of all kernel weights of the model, prunable or not."""
        return self.targeted_kernels / max(self.kernels, 1)

    def logs(self) -> dict[str, Any]:
        """Returns the numbers that join Keras's epoch logs, and so History and the progress bar."""
        logs: dict[str, Any] = {
            "target_sparsity": self.target_sparsity,
            "targeted_share": self.targeted_share,
            "targeted_kernel_share": self.targeted_kernel_share,
            "threshold": self.threshold,
        }
        if self.a is not None:
            logs["a"] = self.a
        if self.shrink is None:
            logs["penalty"] = self.penalty
        else:
            logs["shrink"] = self.shrink
        return logs

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        shares = [each["targeted"] / each["prunable_weights"] for each in states]
        targeted = ChartLine("below the threshold", shares)
        wanted = ChartLine("wanted", [each["target_sparsity"] for each in states], is_target=True)
        yield Chart("weights targeted", "share", [targeted, wanted])
        yield from decay_charts(states)

    def scalars(self) -> dict[str, float]:
        """Returns the numbers for TensorBoard."""
        shares = ("target_sparsity", "targeted_share", "targeted_kernel_share")
        names = ("a", "shrink", "threshold", *shares, "entered", "left", "penalty")
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return known | {f"sparsity/{name}": share for name, share in self.sparsity.items()}


def decay_charts(states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
    """Yields the charts that both forms of Selective Weight Decay share: threshold, penalty and strength."""

    def line(name: str) -> ChartLine:
        return ChartLine(name, [each[name] for each in states])

    yield Chart("threshold", "number", [line("threshold")])
    yield Chart("penalty", "number", [line("penalty")])
    yield Chart("strength of the decay", "number", [line("a"), line("shrink")])


class Monitor:
    """Measures the status of a pool; keeps the targeted set, a bit a weight, to count what enters and leaves it."""

    def __init__(self, pool: WeightPool) -> None:
        self._pool = pool
        self._stays: BitSets | None = None

    def status(self) -> PruningStatus:
        """Returns the present status. It reads every weight once: call it at the end of epochs, not of every update."""
        pool = self._pool
        pool.settle()
        # The update just made had this index; before the first one it is the first.
        step = max(pool.step - 1, 0)
        threshold = float(pool.leader.threshold.numpy())
        counted = pool.counted()
        masks = {id(weight): stays for weight, stays in pool.decayed()}
        stays = BitSets.of(masks[id(weight)] for weight in counted)
        before, self._stays = self._stays or stays, stays
        targeted = {id(weight): elements([weight]) - kept for weight, kept in zip(counted, stays.counts(), strict=True)}
        strength, schedule = pool.strength, pool.schedule
        automatic = schedule.is_forward or (schedule.is_automatic and not strength.coupled)
        return PruningStatus(
            step=pool.step,
            target_sparsity=float(schedule.sparsity(step)),
            a=None if automatic else float(schedule.a(step)),
            shrink=None if strength.coupled or schedule.is_forward else float(strength.shrink(step)),
            threshold=threshold,
            prunable_weights=pool.size,
            targeted=sum(targeted.values()),
            entered=before.count_without(stays),
            left=stays.count_without(before),
            penalty=float(sum(pool.penalty(wrapper) for wrapper in pool.wrappers)) if strength.coupled else 0.0,
            kernels=pool.all_kernels,
            targeted_kernels=sum(count for weight, count in targeted.items() if weight in pool.kernels),
            sparsity=self._sparsity(),
            is_pruned=pool.is_pruned,
            is_finite=all(is_finite(weight) for weight in counted),
            floored=pool.floored(),
        )

    def _sparsity(self) -> dict[str, float]:
        shares = {}
        for wrapper in self._pool.wrappers:
            counted = self._pool.counted_of(wrapper)
            size = elements(counted)
            if size:
                shares[wrapper.layer.name] = (size - sum(nonzeros(weight) for weight in counted)) / size
        return shares


def expected_removed_shares(pool: DecayPool[Any]) -> dict[str, float]:
    """Returns the `FinalStepReport.removed_shares` to expect, by layer, extrapolated from the weights as they are.

    The coupled form leaves a weight where decay and gradient balance, at |g| / (mu (1 + a)), and a still grows until
    `end_step`; the implicit form divides it once more.
    """
    pool.settle()
    now = removed_shares(pool.decayed_by_layer())
    end = tf.constant(pool.schedule.end_step)
    if pool.strength.coupled:
        left = (1.0 + float(pool.schedule.a(pool.step))) / (1.0 + float(pool.schedule.a(end)))
    else:
        left = 1.0 / (1.0 + float(pool.strength.shrink(end)))
    return {layer: share * left for layer, share in now.items()}

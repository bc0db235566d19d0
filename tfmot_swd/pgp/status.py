"""Status of a training by Progressive Gradient Pruning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.pruning.status import Chart, ChartLine, Status


@dataclasses.dataclass(frozen=True)
class ProgressiveStatus(Status):
    """State of a training by Progressive Gradient Pruning after an epoch of its schedule.

    Args:
      epoch: epochs of the schedule that are finished.
      rate: share of the filters to be removed by now, by the schedule.
      channels: channels left in ranked groups, soft-pruned ones included.
      soft_pruned: those of them that are set to zero and kept.
      removed: channels removed after this epoch.
      parameters: parameters of the model, moving statistics included.
      threshold: the largest score among the weak filters.
      sizes: channels left, by group.
      done: whether the schedule is finished.
    """

    clock: ClassVar[str] = "epoch"
    log_names: ClassVar[frozenset[str]] = frozenset({"channels", "soft_channels", "parameters"})

    epoch: int
    rate: float
    channels: int
    soft_pruned: int
    removed: int
    parameters: int
    threshold: float
    sizes: dict[str, int]
    done: bool

    silenced = renamed_attribute("soft_pruned")

    def logs(self) -> dict[str, Any]:
        """Returns the numbers that join Keras's epoch logs, and so History and the progress bar."""
        return {"channels": self.channels, "soft_channels": self.soft_pruned, "parameters": self.parameters}

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        def line(label: str, name: str) -> ChartLine:
            return ChartLine(label, [each[name] for each in states])

        yield Chart("filters", "count", [line("left", "channels"), line("soft-pruned", "soft_pruned")])
        yield Chart("parameters left", "count", [line("left", "parameters")])
        yield Chart("threshold", "number", [line("threshold", "threshold")])

    def scalars(self) -> dict[str, float]:
        """Returns the numbers for TensorBoard."""
        found: dict[str, float] = {
            "rate": self.rate,
            "channels": self.channels,
            "soft_pruned": self.soft_pruned,
            # Its deprecated name.
            "silenced": self.soft_pruned,
            "removed": self.removed,
            "parameters": self.parameters,
            "threshold": self.threshold,
        }
        found |= {f"channels/{name}": size for name, size in self.sizes.items()}
        return {f"progressive_gradient/{name}": float(value) for name, value in found.items()}

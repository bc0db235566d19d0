"""Status of a training by Progressive Gradient Pruning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tfmot_swd.pruning.status import Chart, ChartLine, Status


@dataclasses.dataclass(frozen=True)
class ProgressiveStatus(Status):
    """State after an epoch of Progressive Gradient Pruning.

    Args:
      epoch: epochs of the schedule that are finished.
      rate: share of the filters that the schedule wants removed by now.
      channels: how many the model has left in ranked groups, silenced ones among them.
      silenced: how many of them are silenced.
      removed: how many left after this epoch.
      parameters: what the model has left, moving averages counted.
      threshold: the largest score among the weak filters.
      sizes: channels left, by group.
      done: whether the schedule is finished.
    """

    clock: ClassVar[str] = "epoch"
    log_names: ClassVar[frozenset[str]] = frozenset({"channels", "soft_channels", "parameters"})

    epoch: int
    rate: float
    channels: int
    silenced: int
    removed: int
    parameters: int
    threshold: float
    sizes: dict[str, int]
    done: bool

    def logs(self) -> dict[str, Any]:
        """Returns the numbers that join Keras's epoch logs, and so History and the progress bar."""
        return {"channels": self.channels, "soft_channels": self.silenced, "parameters": self.parameters}

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        def line(label: str, name: str) -> ChartLine:
            return ChartLine(label, [each[name] for each in states])

        yield Chart("filters", "count", [line("left", "channels"), line("silenced", "silenced")])
        yield Chart("parameters left", "count", [line("left", "parameters")])
        yield Chart("threshold", "number", [line("threshold", "threshold")])

    def scalars(self) -> dict[str, float]:
        """Returns the numbers for TensorBoard."""
        found: dict[str, float] = {
            "rate": self.rate,
            "channels": self.channels,
            "silenced": self.silenced,
            "removed": self.removed,
            "parameters": self.parameters,
            "threshold": self.threshold,
        }
        found |= {f"channels/{name}": size for name, size in self.sizes.items()}
        return {f"progressive_gradient/{name}": float(value) for name, value in found.items()}

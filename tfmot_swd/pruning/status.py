"""Status of a pruned training, for logs, TensorBoard and charts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class ChartLine:
    """One line of a chart.

    Args:
      label: in the legend.
      values: one for each status; None for a missing value.
      is_target: whether the line is the target of the schedule, not a measurement.
    """

    label: str
    values: Sequence[float | None]
    is_target: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart of a training over its statuses.

    Args:
      title: the quantity that is drawn.
      unit: "share", "count" or "number".
      lines: each with one value for each status.
    """

    title: str
    unit: str
    lines: Sequence[ChartLine]


class Status(abc.ABC):
    """Base of the frozen dataclass that a method appends to `UpdatePruningStep.history`.

    Class attributes:
      clock: name of the field that counts: "step" (updates) or "epoch".
      log_names: names under which `logs` adds numbers to Keras's epoch logs.
    """

    clock: ClassVar[str] = "step"
    log_names: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def logs(self) -> dict[str, Any]:
        """Returns the values for Keras's epoch logs, and so for History and the progress bar."""

    @abc.abstractmethod
    def scalars(self) -> dict[str, float]:
        """Returns the scalars for TensorBoard by tag."""

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        """Returns the charts of a training.

        By default one for each numeric field; override it for charts with several lines or better titles.

        Args:
          states: the fields of each status, as `dataclasses.asdict` returns them, in order.
        """
        for name, value in states[0].items() if states else ():
            if name != cls.clock and isinstance(value, int | float) and not isinstance(value, bool):
                unit = "count" if isinstance(value, int) else "number"
                yield Chart(name.replace("_", " "), unit, [ChartLine(name, [each.get(name) for each in states])])

"""Status of a pruned training: the numbers after an epoch, for logs, TensorBoard and charts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class ChartLine:
    """One line of a chart.

    Args:
      label: in its legend.
      values: one a status; None where there is none.
      is_target: whether this is what is wanted, not what is.
    """

    label: str
    values: Sequence[float | None]
    is_target: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart of a training over its statuses.

    Args:
      title: what is drawn.
      unit: "share", "count" or "number".
      lines: of as many values as there are statuses.
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
        """Returns the numbers that join Keras's epoch logs, and so History and the progress bar."""

    @abc.abstractmethod
    def scalars(self) -> dict[str, float]:
        """Returns the numbers for TensorBoard."""

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        """Returns the charts of a training.

        By default one for each number that a status has; override it for charts that say more.

        Args:
          states: the fields of each status, as `dataclasses.asdict` returns them, in order.
        """
        for name, value in states[0].items() if states else ():
            if name != cls.clock and isinstance(value, int | float) and not isinstance(value, bool):
                unit = "count" if isinstance(value, int) else "number"
                yield Chart(name.replace("_", " "), unit, [ChartLine(name, [each.get(name) for each in states])])

"""Floor of a metric: the worst value that a smaller model may have."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfmot_swd.workflows.objective import Objective


@dataclasses.dataclass(frozen=True)
class Floor:
    """The worst value of a metric that is accepted.

    Args:
      value: of the metric.
      mode: "max" or "min", whether more or less of it is better.
    """

    value: float
    mode: str

    def margin(self, metric: float) -> float:
        """Returns by how much a value is better than the floor; below 0 where it is worse, nan for nan."""
        return self.value - metric if self.mode == "min" else metric - self.value

    def holds(self, metric: float) -> bool:
        """Returns whether a value is at the floor or better."""
        # A drop from 0.9 by 0.1 is 0.7999999999999999.
        return self.margin(metric) >= -1e-9 * max(abs(self.value), 1.0)


def points_of(mode: str, baseline: float) -> int:
    """Returns how many points one unit of a metric is: 100 of a share, of which more is better, else 1.

    >>> points_of("max", 0.93), points_of("min", 0.31), points_of("max", 31.2)
    (100, 1, 1)
    """
    return 100 if mode == "max" and 0 <= baseline <= 1 else 1


def check_one_floor(max_drop: Any, floor: Any) -> None:
    """Raises unless exactly one of the two is given, and is a number that can be meant.

    Raises:
      TypeError: it is not a number.
      ValueError: both or neither; a drop that is not above 0, or a number that is not finite.
    """
    if (max_drop is None) == (floor is None):
        raise ValueError(
            "Say how good the smaller model must be, in one way: max_drop=1.0, by how many points the metric may be "
            "worse, or floor=0.9, its worst value. "
            f"Received: {'neither' if floor is None else f'max_drop={max_drop!r} and floor={floor!r}'}"
        )
    name, given = ("floor", floor) if max_drop is None else ("max_drop", max_drop)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{name} must be a number. Received: {name}={given!r}")
    if not math.isfinite(given) or (name == "max_drop" and given <= 0):
        raise ValueError(
            f"{name} must be {'a number of points above 0' if name == 'max_drop' else 'finite'}. "
            f"Received: {name}={given!r}"
        )


def floor_of(max_drop: float | None, floor: float | None, objective: Objective, baseline: float) -> Floor:
    """Returns the floor that a drop in points, or a value, means for one metric.

    Args:
      max_drop: in points (`points_of`); None where `floor` is given.
      floor: the worst value.
      objective: with a known mode.
      baseline: the metric of the whole model.

    Raises:
      ValueError: the drop is as large as the metric itself, so that any model would do, or nearly any.

    >>> accuracy, error = Objective(None, "accuracy", "max"), Objective(None, "mae", "min")
    >>> floor_of(1.0, None, accuracy, 0.93).value, floor_of(1.0, None, error, 2.5).value
    (0.92, 3.5)
    """
    if max_drop is None:
        assert floor is not None
        return Floor(float(floor), objective.mode)
    points = points_of(objective.mode, baseline)
    drop = max_drop / points
    # Below 0 more is no share, and none of it no bound.
    if drop >= abs(baseline) and (objective.mode == "min" or baseline >= 0):
        unit = (
            "one point is a hundredth of a metric up to 1, such as an accuracy"
            if points == 100
            else f"one point is 1 of the {objective.metric}"
        )
        sensible = f"try a tenth of it, max_drop={abs(baseline) * points / 10:.3g}, or " if baseline else ""
        raise ValueError(
            f"max_drop is as large as the {objective.metric} of the model itself, so that any model would do, or "
            f"nearly any: {unit}. {sensible[:1].upper()}{sensible[1:]}{'give' if sensible else 'Give'} the worst value "
            "itself, as floor=. "
            f"Received: max_drop={max_drop!r} for {objective.metric} {baseline:.4f}"
        )
    return Floor(baseline + drop if objective.mode == "min" else baseline - drop, objective.mode)

"""Charts of a training: Keras's history and the statuses of a pruning."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfmot_swd.io.deprecation import with_new_names
from tfmot_swd.pruning.methods import registered_methods
from tfmot_swd.pruning.status import Status
from tfmot_swd.report.data import Panel, Series
from tfmot_swd.report.scoring import metric_unit

# Keras's learning rate callbacks log it; no metric.
_LEARNING_RATES = frozenset({"lr", "learning_rate"})
# From this ratio of the largest to the smallest value on, a picture is logarithmic.
_LOG_FROM = 50


def training_panels(history: Any, statuses: Iterable[Any], steps_per_epoch: int | None = None) -> tuple[Panel, ...]:
    """Returns the panels of a training.

    Args:
        history: Keras's `History`, its dictionary, or None.
        statuses: `UpdatePruningStep.history`, or the same as dictionaries.
        steps_per_epoch: where it is known; else that of the `History`, or of statuses of which there is one an epoch.
            Without it epochs stay epochs.

    Raises:
        TypeError: a history or status of another kind.
    """
    logs, params = _logs(history)
    given = list(statuses)
    states = [_state(status) for status in given]
    epochs = max((len(values) for values in logs.values()), default=0)
    steps = steps_per_epoch or params.get("steps")
    if not steps and states and len(states) == epochs and "step" in states[-1]:
        steps = states[-1]["step"] // epochs
    panels = list(_log_panels(logs, steps))
    if states:
        kind = _kind(given[0])
        panels += _status_panels(kind, [with_new_names(kind, state) for state in states], steps)
    return tuple(panel for panel in panels if panel.series)


def _logs(history: Any) -> tuple[dict[str, list[float]], dict[str, Any]]:
    params = getattr(history, "params", None) or {}
    logs = getattr(history, "history", history)
    if logs is None:
        return {}, params
    if not isinstance(logs, Mapping):
        raise TypeError(f"history must be what fit returned, or its dictionary. Received: {type(history).__name__}")
    return {name: list(values) for name, values in logs.items()}, params


def _state(status: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(status) and not isinstance(status, type):
        return dataclasses.asdict(status)
    if isinstance(status, Mapping):
        return dict(status)
    raise TypeError(
        f"statuses must be what UpdatePruningStep keeps in its history. Received: {type(status).__name__} among them"
    )


def _log_panels(logs: Mapping[str, Sequence[float]], steps: int | None) -> Iterable[Panel]:
    """Yields the metrics first, then the loss."""
    x_label = "updates" if steps else "epochs"
    bases = dict.fromkeys(name.removeprefix("val_") for name in logs)
    # What pruning callbacks add to the epoch logs; statuses tell the same, more often.
    others = _LEARNING_RATES.union(*(method.status.log_names for method in registered_methods()))
    metrics = [base for base in bases if base not in others and not base.endswith("_left")]
    for base in sorted(metrics, key=lambda name: name.endswith("loss")):
        lines = []
        for name, shown in ((base, "training"), (f"val_{base}", "validation")):
            values = logs.get(name, ())
            # Validation every few epochs leaves shorter lists, the last of them at the end.
            every = max(len(logs.get(base, values)) // max(len(values), 1), 1)
            x = [(epoch + 1) * every * (steps or 1) for epoch in range(len(values))]
            lines.append(_series(shown, x, values))
        # By the name that the user gave it.
        yield _panel(base, x_label, metric_unit(base), lines)


def _status_panels(kind: type[Status], states: Sequence[Mapping[str, Any]], steps: int | None) -> Iterable[Panel]:
    counts_updates = kind.clock == "step"
    x = [state[kind.clock] * (1 if counts_updates else steps or 1) for state in states]
    x_label = "updates" if counts_updates or steps else "epochs"
    for chart in kind.charts(states):
        lines = [_series(line.label, x, line.values, line.is_target) for line in chart.lines]
        yield _panel(chart.title, x_label, chart.unit, lines)


def _kind(status: Any) -> type[Status]:
    """Returns the class of a status, that of a dictionary by its keys, deprecated ones included."""
    if isinstance(status, Status):
        return type(status)
    for method in registered_methods():
        fields = {field.name for field in dataclasses.fields(method.status)}  # type: ignore[arg-type]
        if fields <= set(with_new_names(method.status, status)):
            return method.status
    raise TypeError(
        "statuses must be what UpdatePruningStep keeps in its history, or the same as dictionaries with all fields. "
        f"Received: a dictionary of {', '.join(map(str, status))}"
    )


def _series(name: str, x: Sequence[float], y: Sequence[Any], is_target: bool = False) -> Series:
    values = tuple(float(each) if each is not None and math.isfinite(each) else None for each in y)
    return Series(name, tuple(map(float, x)), values, is_target)


def _panel(title: str, x_label: str, unit: str, lines: Iterable[Series]) -> Panel:
    """Returns a panel of the lines in which anything happens."""
    shown = tuple(line for line in lines if any(line.y))
    known = [value for line in shown for value in line.y if value is not None]
    is_log = bool(known) and unit == "number" and min(known) > 0 and max(known) > _LOG_FROM * min(known)
    return Panel(title, x_label, unit, is_log, shown)

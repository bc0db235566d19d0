"""Sensitivity analysis: what one-shot pruning of each layer alone costs."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from rich.console import Console

from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.channels.groups import ChannelGroups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.io.journal import Journal
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.keras3.door import opened
from tfmot_swd.pruning.wrapped_models import check_can_wrap
from tfmot_swd.pruning.wrapping import wrap_with
from tfmot_swd.workflows.data import LabelledData, labelled_data
from tfmot_swd.workflows.digests import model_digest
from tfmot_swd.workflows.masks import Prunable, prunable_groups, prunable_layers
from tfmot_swd.workflows.objective import Objective, objective_of
from tfmot_swd.workflows.progress import console_of, progress_bar
from tfmot_swd.workflows.sensitivity_result import Sensitivity, SensitivityRow

GRANULARITIES = ("channels", "weights")
RATES = (0.25, 0.5, 0.75, 0.9)


def sensitivity(
    model: Any,
    data: Any,
    *,
    granularity: str = "channels",
    rates: Iterable[float] = RATES,
    metric: Any = None,
    mode: str = "auto",
    criterion: str | ChannelCriterion = "auto",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    batch_size: int = 256,
    journal: str | os.PathLike[str] | None = None,
    verbose: int = 1,
    console: Console | None = None,
) -> Sensitivity:
    """Measures what each layer alone is worth: it is pruned at once at several rates, all others stay whole.

    Use it before a training, to see which layers carry the accuracy, and what to name in `skip`. Nothing is trained, so
    the drops are far larger than those of a pruning in training, and those of several layers do not add up: compare
    layers with each other.

    Each row is one `evaluate` of a copy of the model whose weights are set to zero in place, so that nothing is traced
    again; `model` stays as it is. A group whose channels are multiplied with those of another tensor (queries and keys)
    is removed in place of that, and costs a trace.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, trained.
      data: validation data: (x, y) or (x, y, sample_weight) of arrays; or a `tf.data.Dataset`, PyDataset or Sequence
        of such batches. It is read once for each row.
      granularity: "channels": the weakest channels of each group of coupled channels; "weights": the smallest weights
        of each layer.
      rates: shares to remove, in (0, 1), rounded down to whole channels or weights. One channel of each group stays.
      metric: None for the first metric of `compile`; the name of another, "loss" for the loss; or a metric of Keras,
        for a model that was not compiled with it.
      mode: "max" or "min", whether more or less of the metric is better; "auto" for what Keras says.
      criterion: how channels are ranked, see `channels.channel_scores`; weights are ranked by magnitude.
      skip, only: names of layers to leave out, or of those that are looked at alone.
      batch_size: samples at once, of arrays.
      journal: path of a file that keeps finished rows, a JSON object a line; with one there, the analysis goes on where
        it ended. Other rates and layers may be asked for; a journal of another model, of other data or of another
        metric is refused.
      verbose: 0 shows nothing, 1 a progress bar where there is a terminal.
      console: where that is shown; standard error by default.

    Returns:
      A `Sensitivity`: prints as a table, draws itself, and says which layers matter.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, `data` cannot be read twice, or `metric` is no metric.
      ValueError: the model is subclassed, wrapped, not built or not compiled; no metric, or an unknown one; rates
        outside of (0, 1); no data; nothing can be pruned; a layer that is not there; a journal of something else.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(3,), use_bias=False, name="hidden"),
    ...                         keras.layers.Dense(1, use_bias=False, name="head")])
    >>> net.set_weights([np.diag([1.0, 2.0, 3.0]), np.ones((3, 1))])
    >>> net.compile("sgd", "mse", metrics=["mae"])
    >>> found = sensitivity(net, (np.ones((4, 3)), np.full((4, 1), 6.0)), rates=[0.5, 0.67], verbose=0)
    >>> [(row.layer, row.rate, row.removed, row.drop) for row in found.rows]
    [('hidden', 0.5, 1, 1.0), ('hidden', 0.67, 2, 3.0)]
    """
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be one of {', '.join(GRANULARITIES)}. Received: {granularity!r}")
    wanted = _checked_rates(rates)
    by = resolve_criterion(criterion, of_weights=True, saved=False)
    batch_size = whole_number("batch_size", batch_size, 1)
    validation = labelled_data("data", data)
    objective = objective_of(model, metric, mode)
    given = opened(model)
    check_can_wrap(given)
    copy = wrap_with(given, lambda layer, inner: inner)
    groups, parts = (
        prunable_groups(copy, by, skip, only)
        if granularity == "channels"
        else (None, prunable_layers(copy, skip, only))
    )
    batches = validation.batched(batch_size)
    objective, baseline = objective.settled(copy, batches)
    rows = Journal(
        journal,
        {
            "granularity": granularity,
            "metric": objective.metric,
            "criterion": repr(by) if granularity == "channels" else "magnitude",
            "model": model_digest(given),
            # Arrays and datasets are read as a whole for it, which takes about as long as one row.
            "data": None if journal is None else validation.digest(),
        },
        "sensitivity analysis",
    )
    measure = _Measure(copy, groups, batches, objective, baseline)
    known = {(row["layer"], row["rate"]): row["metric"] for row in rows.rows}
    missing = [(part, rate) for part in parts for rate in wanted if (part.layer, rate) not in known]
    with progress_bar(console_of(verbose, console), "rows", len(missing)) as advance:
        for part, rate in missing:
            places = part.weakest(rate)
            found = measure(part, places)
            known[part.layer, rate] = found
            rows.append({"layer": part.layer, "rate": rate, "removed": int(places.sum()), "metric": found})
            advance()
    return Sensitivity(
        granularity=granularity,
        metric=str(objective.metric),
        mode=objective.mode,
        baseline=baseline,
        samples=validation.samples,
        rows=tuple(_row(part, rate, known[part.layer, rate], objective, baseline) for part in parts for rate in wanted),
    )


class _Measure:
    """Metric of the model without some channels or weights of one part of it."""

    def __init__(
        self, model: Any, groups: ChannelGroups | None, data: LabelledData, objective: Objective, baseline: float
    ) -> None:
        self._model, self._groups, self._data, self._objective = model, groups, data, objective
        # Small groups lose the same channels at several rates, or none.
        self._known: dict[tuple[str, bytes], float] = {}
        self._baseline = baseline

    def __call__(self, part: Prunable, places: np.ndarray) -> float:
        if not places.any():
            return self._baseline
        key = part.layer, places.tobytes()
        if key not in self._known:
            self._known[key] = self._zeroed(part, places) if part.is_exact else self._removed(part, places)
        return self._known[key]

    def _zeroed(self, part: Prunable, places: np.ndarray) -> float:
        with part.zeroed(places):
            return self._objective.measured(self._model, self._data)

    def _removed(self, part: Prunable, places: np.ndarray) -> float:
        small = plan_removal(self._model, {part.layer: ~places}, groups=self._groups).apply(keras2=True)
        self._objective.compile(small)
        return self._objective.measured(small, self._data)


def _row(part: Prunable, rate: float, found: float | None, objective: Objective, baseline: float) -> SensitivityRow:
    # JSON has no NaN.
    value = math.nan if found is None else found
    removed = int(part.weakest(rate).sum())
    return SensitivityRow(part.layer, rate, removed, part.size, value, objective.drop(baseline, value))


def _checked_rates(rates: Iterable[float]) -> tuple[float, ...]:
    if isinstance(rates, str | int | float) or not isinstance(rates, Iterable):
        raise TypeError(f"rates must be a list of numbers, such as [0.5, 0.9]. Received: rates={rates!r}")
    found = tuple(sorted({float(rate) for rate in rates}))
    if not found or not all(0 < rate < 1 for rate in found):
        raise ValueError(
            f"rates are shares to remove, each between 0 and 1, and one at least. Received: rates={list(found)}"
        )
    return found

"""Objective of a job: the loss to train with, and the metric on validation data that decides."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.compile_arguments import CompileArguments, compile_arguments, loss_names
from tfmot_swd.keras3 import inspection
from tfmot_swd.keras3.door import is_keras3, is_keras3_model
from tfmot_swd.keras3.metrics import direction_of
from tfmot_swd.workflows.data import LabelledData

MODES = ("auto", "max", "min")
_LOSS = "loss"


@dataclasses.dataclass(frozen=True)
class Objective:
    """What models are compiled with, and which of the numbers of `evaluate` counts.

    Args:
      compiled: the loss and the metrics.
      metric: name of the metric; None for the first of those that were compiled.
      mode: "max" or "min", whether the larger or the smaller value is better; "auto" for what Keras says of the metric.
    """

    compiled: CompileArguments
    metric: str | None = None
    mode: str = "auto"

    def compile(self, model: Any, optimizer: Any = "sgd") -> None:
        """Compiles a tf_keras model with the loss and copies of the metrics."""
        model.compile(optimizer, **self.compiled.copied().as_dict())

    def settled(self, model: Any, data: LabelledData) -> tuple[Objective, float]:
        """Returns the objective with a known metric and mode, and the metric of a model.

        Args:
          model: a tf_keras model of this objective; compiled here.
          data: to measure it on, in batches.

        Raises:
          ValueError: there is no such metric, none at all, or nothing says whether more of it is better; the model's
            metric is not finite.
        """
        self.compile(model)
        found = evaluate(model, data)
        losses = loss_names(model)
        metric = next((name for name in found if name not in losses), None) if self.metric is None else self.metric
        if metric is None:
            raise ValueError(
                "There is no metric to measure: compile the model with metrics=[...], or pass metric=, a metric of "
                "Keras; metric='loss' for the loss itself. Received: a model compiled without metrics"
            )
        if metric not in found:
            raise ValueError(
                f"metric must be the name of a metric that the model was compiled with, {', '.join(found)}, or a "
                f"metric of Keras. Received: metric={metric!r}"
            )
        mode = _direction(model, metric, metric in losses) if self.mode == "auto" else self.mode
        if not math.isfinite(found[metric]):
            raise ValueError(
                f"The {metric} of the model itself is not finite, so there is nothing to compare with: look at its "
                f"outputs on {data.name}. Received: {metric}={found[metric]}"
            )
        return dataclasses.replace(self, metric=metric, mode=mode), found[metric]

    def measured(self, model: Any, data: LabelledData) -> float:
        """Returns the metric of a compiled model; nan where its loss is not finite. Of a settled objective."""
        assert self.metric is not None
        return evaluate(model, data)[self.metric]

    def drop(self, before: float, after: float) -> float:
        """Returns by how much the metric has become worse; below 0 where it is better. Of a settled objective."""
        return after - before if self.mode == "min" else before - after


def objective_of(model: Any, metric: Any = None, mode: str = "auto") -> Objective:
    """Returns the objective of a model, by what it was compiled with.

    Args:
      model: of tf_keras or Keras 3, as the user gave it.
      metric: None for the first metric of `compile`; the name of one, "loss" for the loss; or a metric of tf_keras or
        Keras 3 or a function (y, outputs) → number for each sample, in place of those of `compile`.
      mode: "auto", "max" or "min".

    Raises:
      TypeError: a metric of another kind.
      ValueError: another mode; the model was not compiled, and there is no metric either.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}. Received: mode={mode!r}")
    found = (inspection.compile_arguments if is_keras3_model(model) else compile_arguments)(model)
    if metric is None or isinstance(metric, str):
        if found is None:
            raise ValueError(
                "The model is not compiled, so there is no metric to measure: compile it with a loss and "
                f"metrics=[...]. Received: {model.name!r}, not compiled"
            )
        return Objective(found, metric, mode)
    is_metric = isinstance(metric, keras.metrics.Metric) or is_keras3(metric, "Metric")
    if isinstance(metric, type) or not (is_metric or callable(metric)):
        raise TypeError(
            "metric must be the name of a compiled metric, a metric of Keras, such as "
            f"keras.metrics.SparseCategoricalAccuracy(), or a function of y and outputs. Received: metric={metric!r}"
        )
    loss = {} if found is None else {"loss": found.loss, "loss_weights": found.loss_weights}
    name = metric.name if is_metric else getattr(metric, "__name__", None)
    return Objective(CompileArguments(metrics=[metric], **loss), name, mode)


def evaluate(model: Any, data: LabelledData) -> dict[str, float]:
    """Returns loss and metrics of a compiled tf_keras model on batches; all nan where the loss is not finite."""
    found = model.evaluate(data.batches, verbose=0, return_dict=True)
    if not math.isfinite(found.get(_LOSS, 0.0)):
        # An accuracy of NaN outputs is a number, that of the first class.
        return dict.fromkeys(found, math.nan)
    return {name: float(value) for name, value in found.items()}


def _direction(model: Any, metric: str, is_loss: bool) -> str:
    if is_loss:
        return "min"
    direction = next((direction_of(each) for each in model.metrics if each.name == metric), None)
    if direction is None:
        raise ValueError(
            f"Keras does not say whether more of this metric is better: pass mode='max' or mode='min'. "
            f"Received: metric={metric!r}"
        )
    return "min" if direction == "down" else "max"

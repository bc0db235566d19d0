"""Scores of both models and all files on the same data, by the user's metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras3.door import is_keras3, is_keras3_model
from tfmot_swd.keras3.inspection import compiled_metrics
from tfmot_swd.tflite.file_run import run_file
from tfmot_swd.tflite.parity import classes_of
from tfmot_swd.tflite.result import ExportError, ExportResult
from tfmot_swd.tflite.samples import Array, Samples, read_samples
from tfmot_swd.tflite.serving import float32_copy, keras_outputs

ACCURACY = "accuracy"
# A name, a metric of Keras, or a function: (targets, outputs) -> number. Keras's metrics can be called too.
Metric = str | Callable[..., Any]


@dataclass(frozen=True)
class Scores:
    """Scores of the models and files by one metric.

    Attributes:
        metric: its name.
        samples: number of them; None where nothing is known.
        dense, small: of the two models; None where that is not known.
        files: by path; None where a file does not run on these data.
        reasons: by path, why it does not.
    """

    metric: str
    samples: int | None
    dense: float | None
    small: float | None
    files: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def metric_name(metric: Any, *models: Any) -> str:
    """Returns the name of a metric: the given one, else the first of `compile` of the first model with one.

    Raises:
        TypeError: a metric of another kind.
    """
    if isinstance(metric, str):
        return metric
    if metric is None:
        compiled = compiled_metric(*models)
        return ACCURACY if compiled is None else str(compiled.name)
    if not callable(metric):
        raise TypeError(
            "metric must be the name of the accuracy, a Keras metric, or a function of targets and outputs. "
            f"Received: metric={metric!r}"
        )
    return str(getattr(metric, "name", None) or getattr(metric, "__name__", ACCURACY))


def compiled_metric(*models: Any) -> Any:
    """Returns the first metric of `compile` of the first model with one, of tf_keras or Keras 3; None without any.

    Keras makes them in the first `fit` or `evaluate`.
    """
    for model in models:
        found = compiled_metrics(model) if is_keras3_model(model) else getattr(model, "metrics", [])
        for each in found:
            if each.name != "loss":
                return each
    return None


def metric_unit(name: str) -> str:
    """Returns the number style of a metric: "share" for accuracies and areas, "number" for others."""
    lower = name.lower()
    return "share" if "acc" in lower or lower in ("auc", "top_k", "precision", "recall") else "number"


def measure_scores(dense: Any, small: Any, paths: Sequence[str], data: Any, metric: Metric | None = None) -> Scores:
    """Measures both models and all files on the same samples.

    Args:
        dense, small: models of one output that take the same inputs.
        paths: of the files.
        data: `(x, y)`, or a `tf.data.Dataset` of such batches, as the models are fed; files take the same values.
        metric: a metric of tf_keras or Keras 3, whose state stays as it is, or a function of targets and outputs,
            arrays. None is the metric of `compile`, where a model has been trained or evaluated with one; a name, or
            None without such, the share of samples of which the largest output is that of their class.

    Raises:
        TypeError, ValueError: data without targets or unlike the inputs, several outputs, targets that are not classes
            where an accuracy is wanted, another kind of metric.
    """
    name = metric_name(metric, small, dense)
    for model in (dense, small):
        if len(model.outputs) != 1:
            raise ValueError(
                "data tells how well models of one output do; measure the outputs of this one yourself. "
                f"Received: outputs {', '.join(model.output_names)}"
            )
    x, targets = _split(data)
    samples = read_samples((x, targets), small, "data")
    if metric is None:
        metric = compiled_metric(small, dense)
    measure = _accuracy_of(samples) if metric is None or isinstance(metric, str) else _measure_of(metric, targets)
    of_models = []
    for model in (dense, small):
        (outputs,) = keras_outputs(float32_copy(model), read_samples((x, targets), model, "data").inputs).values()
        of_models.append(measure(outputs))
    files: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for path in paths:
        try:
            (outputs,) = run_file(path, small.input_names, samples.inputs).values()
            files[path] = measure(outputs)
        except (ExportError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            files[path], reasons[path] = None, f"No {name}, as it does not run on the data: {error}"
    return Scores(name, len(samples), of_models[0], of_models[1], files, reasons)


def scores_of_proofs(name: str, exports: Sequence[ExportResult], before: int, after: int) -> Scores:
    """Returns the Keras accuracies that exports measured, of the export with the most samples for each model.

    Args:
        name: what the accuracy is called.
        exports: of the small model, or of either.
        before, after: kernel weights of the two models, which tell whose file it is where channels were removed.
    """
    sides: dict[bool, ExportResult] = {}
    for each in exports:
        if each.keras_accuracy is None:
            continue
        is_dense = before > after > 0 and (each.weights or 0) ** 2 > before * after
        if is_dense not in sides or each.samples > sides[is_dense].samples:
            sides[is_dense] = each
    dense, small = sides.get(True), sides.get(False)
    some = small or dense
    return Scores(
        name,
        None if some is None else some.samples,
        # On other samples it is nothing to compare with.
        dense.keras_accuracy if dense is not None and some is not None and dense.samples == some.samples else None,
        None if small is None else small.keras_accuracy,
    )


def _split(data: Any) -> tuple[Any, Array]:
    """Returns inputs and targets, each whole."""
    if isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("data never ends: pass dataset.take(n). Received: an endless tf.data.Dataset")
        # Once, as a shuffled one is in another order each time.
        batches = list(data)
        if not batches or not all(isinstance(batch, tuple) and len(batch) > 1 for batch in batches):
            raise ValueError("data must be batches of (x, y). Received: a tf.data.Dataset of other elements, or none")
        x = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *(batch[0] for batch in batches))
        return x, np.concatenate([np.asarray(batch[1]) for batch in batches])
    if not (isinstance(data, tuple) and len(data) == 2) or data[1] is None:
        raise TypeError(
            "data must be (x, y), arrays of samples and what is right for each, or a tf.data.Dataset of such batches. "
            f"Received: data of type {type(data).__name__}"
        )
    return data[0], np.asarray(data[1])


def _accuracy_of(samples: Samples) -> Callable[[Array], float]:
    labels = samples.labels
    if labels is None:
        raise ValueError(
            "The accuracy needs y of classes, integers (N,) or one-hot (N, classes): pass metric=, a Keras metric or a "
            "function of targets and outputs, for other targets. Received: data whose y is no classes"
        )

    def measure(outputs: Array) -> float:
        classes = classes_of({"": outputs})
        if classes is None:
            raise ValueError(
                "The accuracy is of outputs (N, classes), two classes or more: pass metric= for others, such as "
                f"keras.metrics.BinaryAccuracy(). Received: outputs of shape {('N', *outputs.shape[1:])}"
            )
        return float((classes == labels).mean())

    return measure


def _measure_of(metric: Any, targets: Array) -> Callable[[Array], float]:
    def measure(outputs: Array) -> float:
        if not isinstance(metric, keras.metrics.Metric) and not is_keras3(metric, "Metric"):
            value = float(np.mean(metric(targets, outputs)))
        else:
            state = [variable.numpy() for variable in metric.variables]
            try:
                metric.reset_state()
                metric.update_state(targets, outputs)
                value = float(metric.result())
            finally:
                for variable, before in zip(metric.variables, state, strict=True):
                    variable.assign(before)
        if not math.isfinite(value):
            raise ValueError(f"The metric is not finite: look at the outputs. Received: {value}")
        return value

    return measure

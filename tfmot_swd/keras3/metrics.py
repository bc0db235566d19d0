"""Metrics of Keras 3 as metrics of tf_keras."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.keras2.serialization import copied_by_config
from tfmot_swd.keras3.door import is_keras3_function
from tfmot_swd.keras3.inner_objects import check_runs_in_tensorflow, entry_of, from_entry, full_class_name
from tfmot_swd.keras3.losses import tf_keras_function

_ADVICE = "write it as a subclass of tf_keras.metrics.Metric"


def tf_keras_metric(metric: Any) -> Any:
    """Returns the tf_keras metric of a Keras 3 metric, with nothing counted.

    Stock metrics of both are made of their config; copies of the user's own and of what tf_keras lacks run inside a
    `CarriedMetric`, so that an `evaluate` of a Keras 3 model with the same metric changes nothing.

    Args:
      metric: a `keras.metrics.Metric`.

    Raises:
      TypeError: it has no counterpart, and Keras 3 does not run on TensorFlow.
      ValueError: it has no counterpart, and is made for several replicas.
    """
    from tfmot_swd.keras3.compat import function_arguments, function_of, keras

    name, dtype = type(metric).__name__, _dtype(metric)
    if type(metric) is keras.metrics.MeanMetricWrapper:
        function = function_of(metric)
        function = tf_keras_function(function) if is_keras3_function(function, "losses", "metrics") else function
        return tf_keras.metrics.MeanMetricWrapper(function, metric.name, dtype, **function_arguments(metric))
    kind = getattr(tf_keras.metrics, name, None)
    if kind is None or getattr(keras.metrics, name, None) is not type(metric):
        return CarriedMetric(_copied(metric))
    config = {**metric.get_config(), "dtype": dtype}
    if config.pop("from_sorted_ids", False):
        return CarriedMetric(_copied(metric))
    return kind.from_config(config)


def direction_of(metric: Any) -> str | None:
    """Returns "up" or "down" where a metric of a tf_keras model gets better, as Keras 3 says; None if it does not say.

    Args:
      metric: a `tf_keras.metrics.Metric`.
    """
    from tfmot_swd.keras3.compat import better_when, keras

    if isinstance(metric, CarriedMetric):
        return better_when(metric.inner)
    try:
        if type(metric) is tf_keras.metrics.MeanMetricWrapper:
            known = keras.metrics.get(metric.get_config()["fn"].__name__)
        else:
            known = getattr(keras.metrics, type(metric).__name__).from_config({**metric.get_config(), "dtype": None})
    # A metric of the user's own, by its class or function.
    except (AttributeError, TypeError, ValueError):
        return None
    return better_when(known)


def _copied(metric: Any) -> Any:
    """Returns a copy of a metric, by its config; the metric itself, with a warning, where the config does not do."""
    copied, reason = copied_by_config(metric)
    if copied is not None:
        return copied
    warnings.warn(
        "A metric without a config cannot be copied, so the model counts in the object itself, beginning with nothing: "
        "give the class a get_config that returns the arguments of its __init__, or each model a metric of its own. "
        f"Received: {full_class_name(metric)} with {reason}",
        PruningWarning,
        stacklevel=2,
    )
    metric.reset_state()
    return metric


def _dtype(metric: Any) -> str | None:
    """Returns the dtype of a Keras 3 metric for tf_keras: None for the integers of IoU, in which tf_keras fails."""
    return metric.dtype if tf.as_dtype(metric.dtype).is_floating else None


@tf_keras.utils.register_keras_serializable("tfmot_swd")
class CarriedMetric(tf_keras.metrics.Metric):
    """A tf_keras metric that counts in a metric written for Keras 3.

    A saved model loads with it if the class inside is registered with `keras.saving.register_keras_serializable`.

    Args:
      inner: a `keras.metrics.Metric`.
      name: of the metric in logs.

    Raises:
      TypeError: Keras 3 does not run on TensorFlow.
      ValueError: several replicas train the model, on each of which the variables of the metric would be needed.
    """

    def __init__(self, inner: Any, name: str | None = None) -> None:
        super().__init__(name or inner.name, inner.dtype)
        check_runs_in_tensorflow(inner, _ADVICE)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"A metric written for Keras 3 counts on one replica: {_ADVICE}. "
                f"Received: {full_class_name(inner)} and {replicas} replicas"
            )
        self.inner = inner

    @tf.autograph.experimental.do_not_convert
    def update_state(self, *args: Any, **kwargs: Any) -> None:
        self.inner.update_state(*args, **kwargs)

    @tf.autograph.experimental.do_not_convert
    def result(self) -> Any:
        return tf.nest.map_structure(tf.convert_to_tensor, self.inner.result())

    def reset_state(self) -> None:
        self.inner.reset_state()

    @property
    def weights(self) -> list[tf.Variable]:
        """The variables of the metric inside, which may be made at its first update."""
        return [each.value for each in self.inner.variables]

    def get_weights(self) -> list[np.ndarray]:
        return [each.numpy() for each in self.weights]

    def get_config(self) -> dict[str, Any]:
        return {"inner": entry_of(self.inner), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CarriedMetric:
        return cls(from_entry(config["inner"], "metrics.Metric"), config["name"])

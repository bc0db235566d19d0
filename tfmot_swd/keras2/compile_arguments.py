"""Arguments of `compile`, to compile another model alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.serialization import copied_by_config


@dataclasses.dataclass(frozen=True)
class CompileArguments:
    """Arguments of `compile` that decide what is measured, as they were given.

    Args:
      loss, loss_weights, metrics, weighted_metrics: as those of `keras.Model.compile`.
    """

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None

    def copied(self) -> CompileArguments:
        """Returns them with copies of the metrics, which count; one whose config lacks an argument stays itself."""
        metrics, weighted = (copied_metrics(each) for each in (self.metrics, self.weighted_metrics))
        return dataclasses.replace(self, metrics=metrics, weighted_metrics=weighted)

    def as_dict(self) -> dict[str, Any]:
        """Returns those that were given, by name."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if value is not None}


def compile_arguments(model: Any) -> CompileArguments | None:
    """Returns what a tf_keras model was compiled with; None for one that was not compiled.

    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> compile_arguments(net) is None
    True
    >>> net.compile("sgd", "mse", metrics=["mae"])
    >>> compile_arguments(net).as_dict()
    {'loss': 'mse', 'metrics': ['mae']}
    """
    losses, metrics = getattr(model, "compiled_loss", None), getattr(model, "compiled_metrics", None)
    if losses is None or metrics is None:
        return None
    return CompileArguments(
        losses._user_losses, losses._user_loss_weights, metrics._user_metrics, metrics._user_weighted_metrics
    )


def loss_names(model: Any) -> frozenset[str]:
    """Returns the names under which `evaluate` of a compiled model that has run reports losses."""
    return frozenset(["loss", *(each.name for each in model.compiled_loss.metrics)])


def weighted_metric_names(model: Any) -> frozenset[str]:
    """Returns the names of the metrics of a compiled model that has run in which sample weights count.

    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> net.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    >>> net.evaluate([[0.0, 0.0, 0.0]], [[0.0, 0.0]], verbose=0)
    [0.0, 0.0, 0.0]
    >>> weighted_metric_names(net)
    frozenset({'mse'})
    """
    found = tf.nest.flatten(model.compiled_metrics._weighted_metrics)
    return frozenset(each.name for each in found if each is not None)


def copied_metrics(given: Any) -> Any:
    """Returns a structure of metrics with each tf_keras metric copied by its config; all else stays the same.

    One object in two models would count for both. A metric of the user's own whose config does not give all arguments
    stays the same object, as its copy would be another metric.
    """
    if isinstance(given, dict):
        return {name: copied_metrics(each) for name, each in given.items()}
    if isinstance(given, list | tuple):
        return [copied_metrics(each) for each in given]
    if not isinstance(given, keras.metrics.Metric):
        return given
    kind = type(given)
    if getattr(keras.metrics, kind.__name__, None) is kind:
        return kind.from_config(given.get_config())
    copied, _ = copied_by_config(given)
    return given if copied is None else copied

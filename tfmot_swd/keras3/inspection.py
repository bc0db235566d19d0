"""Batch norms, metrics and arguments of `compile` of Keras 3 models, read without converting them."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compile_arguments import CompileArguments


def batch_norms(model: Any) -> list[Any]:
    """Returns the batch norms at any depth of a Keras 3 model, inside custom layers too.

    >>> import keras
    >>> [each.name for each in batch_norms(keras.Sequential([keras.layers.BatchNormalization(name="norm")]))]
    ['norm']
    """
    from tfmot_swd.keras3.compat import keras, layers_inside

    return [each for each in layers_inside(model) if isinstance(each, keras.layers.BatchNormalization)]


def compiled_metrics(model: Any) -> list[Any]:
    """Returns the metrics of `compile` of a Keras 3 model, which Keras makes in the first `fit` or `evaluate`.

    >>> import keras
    >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> net.compile("sgd", "mse", metrics=["mae"])
    >>> losses = net.evaluate(keras.ops.ones((1, 3)), keras.ops.ones((1, 2)), verbose=0)
    >>> [metric.name for metric in compiled_metrics(net)]
    ['mae']
    """
    # Those of `compile` are in one metric of `model.metrics`, beside the mean of the loss.
    found = (metric for each in model.metrics for metric in getattr(each, "metrics", [each]))
    return [metric for metric in found if metric.name != "loss"]


def compile_arguments(model: Any) -> CompileArguments | None:
    """Returns what a Keras 3 model was compiled with, as it was given; None for one that was not compiled.

    `compile` of a tf_keras model takes all of it.

    >>> import keras
    >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> net.compile("sgd", "mse", metrics=["mae"])
    >>> compile_arguments(net).as_dict()
    {'loss': 'mse', 'metrics': ['mae']}
    """
    from tfmot_swd.keras3.compat import compiled_with

    return CompileArguments(**compiled_with(model)) if model.compiled else None

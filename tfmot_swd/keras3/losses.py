"""Losses of Keras 3 as losses of tf_keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras3.inner_objects import check_runs_in_tensorflow, entry_of, from_entry

# Reductions of Keras 3 → those of tf_keras, which has none that divides by the sum of the sample weights.
_REDUCTIONS = {
    "sum_over_batch_size": "sum_over_batch_size",
    "mean": "sum_over_batch_size",
    "sum": "sum",
    "none": "none",
}

_ADVICE = "write it as a subclass of tf_keras.losses.Loss or a function of TensorFlow operations"


def tf_keras_loss(loss: Any) -> Any:
    """Returns the tf_keras loss of a Keras 3 loss.

    Stock losses of both are made of their config; the user's own, and what tf_keras lacks (Dice, Tversky, an axis, a
    dtype, reduction="mean_with_sample_weight"), run inside a `CarriedLoss`.

    Args:
      loss: a `keras.losses.Loss`.

    Raises:
      TypeError: it has no counterpart, and Keras 3 does not run on TensorFlow.
    """
    from tfmot_swd.keras3.compat import function_arguments, keras

    name = type(loss).__name__
    reduction = _REDUCTIONS.get("none" if loss.reduction is None else loss.reduction)
    kind = getattr(tf_keras.losses, name, None)
    is_stock = getattr(keras.losses, name, None) is type(loss)
    # The config of SparseCategoricalCrossentropy does not have its axis.
    has_axis = name == "SparseCategoricalCrossentropy" and function_arguments(loss)["axis"] != -1
    if kind is None or not is_stock or has_axis or reduction is None or loss.dtype != keras.config.floatx():
        return CarriedLoss(loss)
    return kind.from_config({**loss.get_config(), "reduction": reduction})


def tf_keras_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the tf_keras function of a function of `keras.losses` or `keras.metrics`.

    They compute the same under the same names; a function that tf_keras lacks, such as `keras.losses.dice`, is returned
    as it is, for it computes on the tensors of TensorFlow.

    Raises:
      TypeError: tf_keras lacks it, and Keras 3 does not run on TensorFlow.
    """
    name = function.__name__
    for module in (tf_keras.losses, tf_keras.metrics):
        if callable(getattr(module, name, None)):
            return getattr(module, name)
    check_runs_in_tensorflow(function, _ADVICE)
    return function


@tf_keras.utils.register_keras_serializable("tfmot_swd")
class CarriedLoss(tf_keras.losses.Loss):
    """A tf_keras loss that calls a loss written for Keras 3, which reduces it too.

    A saved model loads with it if the class inside is registered with `keras.saving.register_keras_serializable`.

    Args:
      inner: a `keras.losses.Loss`.

    Raises:
      TypeError: Keras 3 does not run on TensorFlow.
    """

    def __init__(self, inner: Any) -> None:
        check_runs_in_tensorflow(inner, _ADVICE)
        # Keras 3 divides a mean by the number of replicas, as tf_keras would do unless it were a sum.
        super().__init__("none" if inner.reduction in (None, "none") else "sum", inner.name)
        self.inner = inner

    # Keras 3 runs without AutoGraph, and so may its code.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        return self.inner(y_true, y_pred, sample_weight)

    @tf.autograph.experimental.do_not_convert
    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return self.inner.call(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {"inner": entry_of(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CarriedLoss:
        return cls(from_entry(config["inner"], "losses.Loss"))

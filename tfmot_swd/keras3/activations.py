"""Activation functions that Keras 3 has and tf_keras lacks, or has under the same name with other numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.layers.activations import register_function

Function = Callable[[Any], Any]


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    # Keras 2 has clip(0.2 x + 0.5, 0, 1) under this name.
    return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _hard_silu(x: tf.Tensor) -> tf.Tensor:
    return x * _hard_sigmoid(x)


def _celu(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(x, 0.0) + tf.math.expm1(tf.minimum(x, 0.0))


def _squareplus(x: tf.Tensor) -> tf.Tensor:
    return (x + tf.sqrt(x * x + 4.0)) / 2.0


def _hard_tanh(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(x, -1.0, 1.0)


def _tanh_shrink(x: tf.Tensor) -> tf.Tensor:
    return x - tf.math.tanh(x)


def _hard_shrink(x: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.abs(x) > 0.5, x, tf.zeros_like(x))


def _soft_shrink(x: tf.Tensor) -> tf.Tensor:
    return tf.math.sign(x) * tf.nn.relu(tf.abs(x) - 0.5)


def _sparse_plus(x: tf.Tensor) -> tf.Tensor:
    return tf.where(x <= -1.0, tf.zeros_like(x), tf.where(x < 1.0, 0.25 * tf.square(x + 1.0), x))


def _sparse_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(0.5 * (x + 1.0), 0.0, 1.0)


# TensorFlow's own functions would not be found again in a file.
def _relu6(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x)


def _leaky_relu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(x)


def _log_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.math.log_sigmoid(x)


def _log_softmax(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.log_softmax(x)


def _registered(name: str, function: Function) -> Function:
    """Returns a function that files of tf_keras models name `tfmot_swd>keras3_<name>`."""
    function.__name__ = f"keras3_{name}"
    made: Function = keras2.utils.register_keras_serializable("tfmot_swd")(function)
    if name != "log_softmax":
        register_function(made)
    return made


# Keras 3's name → the function for tf_keras.
_MADE: dict[str, Function] = {
    name: _registered(name, function)
    for name, function in {
        "hard_sigmoid": _hard_sigmoid,
        "hard_silu": _hard_silu,
        "celu": _celu,
        "squareplus": _squareplus,
        "hard_tanh": _hard_tanh,
        "tanh_shrink": _tanh_shrink,
        "hard_shrink": _hard_shrink,
        "soft_shrink": _soft_shrink,
        "sparse_plus": _sparse_plus,
        "sparse_sigmoid": _sparse_sigmoid,
        "relu6": _relu6,
        "leaky_relu": _leaky_relu,
        "log_sigmoid": _log_sigmoid,
        "log_softmax": _log_softmax,
    }.items()
}
_IN_TENSORFLOW = "relu relu6 leaky_relu elu selu softplus softsign tanh sigmoid softmax silu"
_SAME = "elu exponential gelu linear mish relu selu sigmoid softmax softplus softsign tanh"


@keras3.saving.register_keras_serializable("tfmot_swd")
def keras2_hard_sigmoid(x: Any) -> Any:
    """Keras 2's hard sigmoid, clip(0.2 x + 0.5, 0, 1), for Keras 3, where the name means another function."""
    return keras3.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


_IN_KERAS2: dict[str, Function] = {
    **{name: getattr(keras2.activations, name) for name in _SAME.split()},
    "silu": keras2.activations.swish,
    **_MADE,
}
_TO_KERAS2 = {id(getattr(keras3.activations, name)): function for name, function in _IN_KERAS2.items()}
_TO_KERAS3 = {
    **{id(function): getattr(keras3.activations, name) for name, function in _IN_KERAS2.items()},
    **{
        id(function): getattr(keras3.activations, name)
        for name in _IN_TENSORFLOW.split()
        for function in (getattr(tf.nn, name, None), getattr(tf.math, name, None))
        if function is not None
    },
    id(keras2.activations.hard_sigmoid): keras2_hard_sigmoid,
}


def keras2_activation(function: Any) -> Any:
    """Returns the function for tf_keras that computes as an activation function of Keras 3, or None.

    Functions are told by identity, as a function of the user's may have the name of a known one.

    >>> import keras
    >>> float(keras2_activation(keras.activations.hard_sigmoid)(1.0))
    0.6666666865348816
    """
    return _TO_KERAS2.get(id(function))


def keras3_activation(function: Any) -> Any:
    """Returns the function of Keras 3 that computes as an activation function of tf_keras or TensorFlow, or None."""
    return _TO_KERAS3.get(id(function))


def operation_activation(name: str) -> Function | None:
    """Returns the function for tf_keras of an operation without an equal one in TensorFlow, as "HardSigmoid"."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
    return _MADE.get(snake)

"""Activation functions, told apart by whether they act on each channel alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.overrides import computes_as
from tfmot_swd.layers.labels import Labels

_NAMES = """
    linear relu relu6 leaky_relu elu selu softplus softsign tanh sigmoid hard_sigmoid exponential swish silu gelu mish
    hard_swish log_sigmoid identity
"""
ELEMENTWISE = frozenset(_NAMES.split())
ACROSS = frozenset({"softmax", "log_softmax"})
PER_CHANNEL = "per_channel"
_HOMES = (keras.activations, keras.backend, tf.nn, tf.math, tf)
# By identity: a function of the user's may have the name of a known one.
_KNOWN = {
    id(function): (name, function)
    for name in ELEMENTWISE | ACROSS
    for function in (getattr(home, name, None) for home in _HOMES)
    if function is not None
}


def register_function(*functions: Any, acts: str = "elementwise") -> None:
    """Declares what functions do to channels, so that the channels they are applied to can be removed.

    They may be the `activation` of a layer, or the function of an `Activation` or `Lambda` layer. A function needs no
    declaration where TensorFlow's operations in it are known, as those of `x * tf.nn.relu6(x + 3) / 6`: it is called on
    a symbolic tensor, and the rules of its operations hold. Declare one that cannot be called so, or that has an
    operation without a rule.

    Args:
      *functions: known by identity, in this process.
      acts: "elementwise", each element of the result is computed from the elements at the same place of its inputs,
        which broadcast; or "per_channel", each channel of the result, on its last axis, is computed from the same
        channel of its one input alone, as in a pooling.

    Raises:
      TypeError: not a function.
      ValueError: none are given, or `acts` is none of the two.

    >>> import tensorflow as tf
    >>> def square(x):
    ...     return tf.numpy_function(lambda values: values**2, [x], x.dtype)
    >>> register_function(square, acts="elementwise")
    """
    if acts not in ("elementwise", PER_CHANNEL):
        raise ValueError(f"acts must be 'elementwise' or 'per_channel'. Received: {acts!r}")
    if not functions:
        raise ValueError("register_function takes at least one function of a tensor. Received: none")
    for function in functions:
        if not callable(function) or isinstance(function, type | keras.layers.Layer):
            raise TypeError(
                "register_function takes functions of a tensor; a layer class is declared by "
                f"register_layer(MyLayer, like=keras.layers.ReLU). Received: {function!r}"
            )
        _KNOWN[id(function)] = ("identity" if acts == "elementwise" else acts, function)


_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.ThresholdedReLU)


def mixes_channels(activation: Any, labels: Labels) -> str:
    """Returns why an activation makes the channels of `labels` stay; "" where it acts on each of them alone.

    Functions are recognized by identity, in `keras.activations`, `keras.backend` and TensorFlow. Others are assumed to
    mix channels, unless what they compute is known otherwise (`LayerCall.through`).

    Args:
      activation: a function, an activation layer, or None for the identity.
      labels: of the tensor that it is applied to.

    >>> import numpy as np
    >>> features = Labels.on_axis(np.arange(8), 1, (None, 8))
    >>> mixes_channels(keras.activations.relu, features)
    ''
    >>> mixes_channels(keras.activations.softmax, features)
    'activation softmax looks across channels'
    >>> mixes_channels(lambda x: x, features)
    'activation <lambda> is not known to act on each channel alone'
    >>> mixes_channels(None, features)
    ''
    """
    if is_elementwise(activation):
        return ""
    name = _KNOWN[id(activation)][0] if id(activation) in _KNOWN else ""
    if name in ACROSS:
        return f"activation {name} looks across channels" if labels.rank - 1 in labels.varying else ""
    if acts_per_channel(activation):
        aside = set(labels.varying) - {labels.rank - 1}
        return f"function {name_of(activation)} needs channels on the last axis" if aside else ""
    return f"activation {name_of(activation)} is not known to act on each channel alone"


def is_elementwise(activation: Any) -> bool:
    """Returns whether an activation is known to compute each element from one element."""
    if activation is None or (type(activation) in _LAYERS and computes_as(activation, type(activation))):
        return True
    return id(activation) in _KNOWN and _KNOWN[id(activation)][0] in ELEMENTWISE


def acts_per_channel(function: Any) -> bool:
    """Returns whether a function was declared to act on each channel alone, but not on each element."""
    return id(function) in _KNOWN and _KNOWN[id(function)][0] == PER_CHANNEL


def is_unknown(activation: Any) -> bool:
    """Returns whether an activation is a function of which nothing is known but what calling it shows."""
    return callable(activation) and not isinstance(activation, keras.layers.Layer) and id(activation) not in _KNOWN


def name_of(function: Any) -> str:
    """Returns the name of a function, or of the class of a callable object."""
    return str(getattr(function, "__name__", type(function).__name__))

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
_HOMES = (keras.activations, keras.backend, tf.nn, tf.math, tf)
# By identity: a function of the user's may have the name of a known one.
_KNOWN = {
    id(function): (name, function)
    for name in ELEMENTWISE | ACROSS
    for function in (getattr(home, name, None) for home in _HOMES)
    if function is not None
}


def register_elementwise(function: Any) -> None:
    """Makes an activation function known as one that acts on each channel alone."""
    _KNOWN[id(function)] = ("identity", function)


_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.ThresholdedReLU)


def mixes_channels(activation: Any, labels: Labels) -> str:
    """Returns why an activation makes the channels of `labels` stay; "" where it acts on each of them alone.

    Functions are recognized by identity, in `keras.activations`, `keras.backend` and TensorFlow. Others are assumed to
    mix channels, as nothing is known of what they compute.

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
    if activation is None:
        return ""
    if type(activation) in _LAYERS and computes_as(activation, type(activation)):
        return ""
    name = _KNOWN[id(activation)][0] if id(activation) in _KNOWN else ""
    if name in ELEMENTWISE:
        return ""
    if name in ACROSS:
        return f"activation {name} looks across channels" if labels.rank - 1 in labels.varying else ""
    name = getattr(activation, "__name__", type(activation).__name__)
    return f"activation {name} is not known to act on each channel alone"

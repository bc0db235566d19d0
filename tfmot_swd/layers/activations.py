"""Activation functions that act on each element alone, so that a channel passes through by itself."""

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
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.ThresholdedReLU)


def mixes_channels(activation: Any, labels: Labels) -> str:
    """Returns why `activation` makes the channels of `labels` stay; empty where each passes by itself."""
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

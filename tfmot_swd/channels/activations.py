"""Which activation functions act on each element alone, so that a channel passes through by itself."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd._compat import keras
from tfmot_swd.channels.labels import Labels

_NAMES = """
    linear relu relu6 leaky_relu elu selu softplus softsign tanh sigmoid hard_sigmoid exponential swish silu gelu mish
    hard_swish log_sigmoid identity
"""
ELEMENTWISE = frozenset(_NAMES.split())
ACROSS = frozenset({"softmax", "log_softmax"})
_HOMES = (keras.activations, keras.backend, tf.nn, tf.math, tf)
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.ThresholdedReLU)


def mixes_channels(activation: Any, labels: Labels) -> str:
    """Returns why `activation` makes the channels of `labels` stay; empty where each passes by itself."""
    if activation is None or type(activation) in _LAYERS:
        return ""
    name = getattr(activation, "__name__", type(activation).__name__)
    # By identity too: a function of the user's may have the name of a known one.
    known = any(activation is getattr(home, name, None) for home in _HOMES)
    if known and name in ELEMENTWISE:
        return ""
    if known and name in ACROSS:
        return f"activation {name} looks across channels" if labels.rank - 1 in labels.varying else ""
    return f"activation {name} is not known to act on each channel alone"

"""Digest of a model's weights, by which a journal knows its model."""

from __future__ import annotations

import hashlib
from typing import Any

from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_weights import layers_with_weights
from tfmot_swd.keras2.weight_values import view_of


def model_digest(model: Any) -> str:
    """Returns a SHA-256 of the paths, classes and weights of a tf_keras model's layers, in hexadecimal.

    The name of the model is left out, which Keras counts up where one is made again.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> before = model_digest(net)
    >>> net.layers[0].bias.assign([0.0, 1.0]) is None
    False
    >>> model_digest(net) == before
    False
    """
    found = hashlib.sha256()
    for path, layer in layers_with_weights(model):
        found.update(f"{path} {class_name(layer)}".encode())
        for weight in variables_of(layer):
            found.update(f"{weight.dtype.name}{weight.shape}".encode())
            found.update(view_of(weight).tobytes())
    return found.hexdigest()

"""Weights carried from a layer of one Keras to its counterpart in the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.graph import layers_inside
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import layers_inside as layers_inside3
from tfmot_swd.keras3.parts import NoCounterpart

# The same weight has another name in one of the two.
_ALIASES = {
    "depthwise_kernel": "kernel",
    "adapt_mean": "mean",
    "adapt_variance": "variance",
    "sn_u": "vector_u",
    "u": "vector_u",
}


def transfer_weights(source: Any, target: Any) -> None:
    """Copies the weights of a built layer to the built layer of the other Keras that was made of it.

    They are paired by name where names tell them apart, else by order.

    Args:
      source, target: a layer of Keras 3 and one of tf_keras, or the other way round.

    Raises:
      NoCounterpart: the layers do not have the same weights.
    """
    given, taken = _weights(source), _weights(target)
    if len(given) != len(taken):
        raise NoCounterpart(
            f"{len(given)} weights ({', '.join(map(_name, given))}) for {len(taken)} ({', '.join(map(_name, taken))})"
        )
    keys = [_key(each) for each in taken]
    if len(set(keys)) == len(keys) and {_key(each) for each in given} == set(keys):
        taken = [taken[keys.index(_key(each))] for each in given]
    for source_weight, target_weight in zip(given, taken, strict=True):
        if tuple(source_weight.shape) != tuple(target_weight.shape):
            raise NoCounterpart(
                f"weight {_name(source_weight)} {tuple(source_weight.shape)} for {_name(target_weight)} "
                f"{tuple(target_weight.shape)}"
            )
    for source_weight, target_weight in zip(given, taken, strict=True):
        _assign(target_weight, _value(source_weight))
    for part in _parts(target):
        if isinstance(part, keras2.layers.Normalization | keras3.layers.Normalization):
            # It computes with numbers made of its weights.
            part.finalize_state()


def give_variables(layer: Any, copy: Any) -> None:
    """Copies all variables of a Keras 3 layer, random states among them, and what is frozen inside, to a copy of it.

    Args:
      layer, copy: of the same class and config, both built.

    Raises:
      ValueError: the copy has other variables.
    """
    given, taken = list(layer.variables), list(copy.variables)
    if [tuple(each.shape) for each in given] != [tuple(each.shape) for each in taken]:
        raise ValueError(
            "A copy of this layer, made of its config, does not have its weights: have get_config return all that they "
            f"depend on. Received: {layer.name!r} of class {type(layer).__name__}, with {len(given)} variables "
            f"{[tuple(each.shape) for each in given]}, and a copy with {[tuple(each.shape) for each in taken]}"
        )
    for variable, twin in zip(given, taken, strict=True):
        twin.assign(variable)
    for part, twin in zip(layers_inside3(layer), layers_inside3(copy), strict=True):
        if twin.trainable != part.trainable:
            twin.trainable = part.trainable


def _parts(layer: Any) -> list[Any]:
    return layers_inside(layer) if isinstance(layer, keras2.layers.Layer) else [layer]


def _weights(layer: Any) -> list[Any]:
    """Returns the weights of a layer; the vocabulary of a lookup layer, which is no variable, is not among them."""
    if isinstance(layer, keras2.layers.Layer):
        return [each for each in map(master_variable, layer.weights) if isinstance(each, tf.Variable)]
    return list(layer.weights)


def _name(weight: Any) -> str:
    path = weight.path if isinstance(weight, keras3.Variable) else weight.name
    return str(path).rsplit("/", 1)[-1].split(":")[0]


def _key(weight: Any) -> tuple[str, tuple[int, ...]]:
    name = _name(weight)
    return _ALIASES.get(name, name), tuple(weight.shape)


def _value(weight: Any) -> np.ndarray:
    if isinstance(weight, keras3.Variable):
        return np.asarray(keras3.ops.convert_to_numpy(weight))
    return np.asarray(weight.numpy())


def _assign(weight: Any, value: np.ndarray) -> None:
    if isinstance(weight, keras3.Variable):
        weight.assign(value)
    else:
        weight.assign(tf.cast(value, weight.dtype))

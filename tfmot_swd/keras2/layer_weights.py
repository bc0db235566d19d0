"""Weights of layers, inside TFMOT's wrappers too: kernels, and weights by dotted path ("cell.recurrent_kernel")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import (
    PruneLowMagnitude,
    QuantizeLayer,
    QuantizeWrapper,
    keras,
    master_variable,
    variables_of,
)
from tfmot_swd.keras2.graph import layer_paths, layers_inside

layers = keras.layers

# What they own scales or shifts each channel, or each value, however many axes it has.
_SCALING = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.UnitNormalization,
    layers.PReLU,
)


def unwrapped(layer: Any) -> Any:
    """Returns the layer inside pruning and quantization wrappers (TFMOT's and this package's); other layers as is."""
    return unwrapped(layer.layer) if isinstance(layer, PruneLowMagnitude | QuantizeWrapper) else layer


def weights_inside(layer: Any) -> list[tf.Variable]:
    """Returns the variables of a layer in full precision, without the state of wrappers, such as masks.

    Quantization-aware training replaces a kernel by a tensor: the variable behind it is returned.
    """
    if isinstance(layer, QuantizeLayer):
        return []
    if isinstance(layer, QuantizeWrapper):
        own = [master_variable(weight) for weight, *_ in getattr(layer, "_weight_vars", ())]
        return distinct([*own, *weights_inside(layer.layer)])
    return weights_inside(layer.layer) if isinstance(layer, PruneLowMagnitude) else variables_of(layer)


def unquantized(wrapper: Any, weights: list[Any]) -> list[Any]:
    """Returns weights of the layer in a `QuantizeWrapper` with the variables in place of their quantized tensors."""
    rounded = wrapper.quantize_config.get_weights_and_quantizers(wrapper.layer)
    variables = {
        id(now): variable
        for (now, _), (variable, *_) in zip(rounded, getattr(wrapper, "_weight_vars", ()), strict=False)
    }
    return [variables.get(id(each), each) for each in weights]


def kernels_of(layer: Any) -> list[tf.Variable]:
    """Returns the kernel weights of a layer: kernels, embeddings, recurrent kernels, matrices of custom layers.

    These are all variables of rank 2 or more that were created trainable, frozen now or not, except biases (of rank 2
    in attention and GRU) and the scales of normalization and PReLU.
    """
    no_kernel: set[int] = set()
    for part in layers_inside(unwrapped(layer)):
        scaling = part.weights if isinstance(part, _SCALING) else [getattr(part, "bias", None)]
        no_kernel |= {id(master_variable(each)) for each in scaling}
    return [
        weight
        for weight in weights_inside(layer)
        if len(weight.shape) > 1 and weight.trainable and weight.dtype.is_floating and id(weight) not in no_kernel
    ]


def layers_with_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields (path, layer) of every layer that owns weights, inside nested models too, each once."""
    seen: set[int] = set()
    for path, layer in layer_paths(model):
        if id(layer) not in seen and not isinstance(layer, keras.Model) and weights_inside(layer):
            seen.add(id(layer))
            yield path, layer


def has_bias(layer: Any) -> bool:
    """Returns whether a layer adds a bias: it has the weight, and `use_bias`, if there is one, is true."""
    return getattr(layer, "bias", None) is not None and bool(getattr(layer, "use_bias", True))


def own_weights(model: Any) -> list[Any]:
    """Returns the variables of a model's layers, each once, in full precision, without wrapper and metric state."""
    kept: set[int] = set()
    for layer in model.submodules:
        if isinstance(layer, keras.metrics.Metric):
            # A model class with a custom train_step holds metrics, and Keras counts them among its weights.
            kept |= {id(master_variable(each)) for each in layer.weights}
        if isinstance(layer, PruneLowMagnitude):
            inside = {id(master_variable(each)) for each in layer.layer.weights}
            kept |= {id(each) for each in map(master_variable, layer.weights)} - inside
    found = {id(each): each for each in variables_of(model)}
    return [variable for place, variable in found.items() if place not in kept]


def distinct(weights: Iterable[Any]) -> list[Any]:
    """Returns each variable once, in the order of first appearance."""
    found: dict[int, Any] = {}
    for each in weights:
        found.setdefault(id(master_variable(each)), each)
    return list(found.values())


def elements(weights: Iterable[Any]) -> int:
    """Returns the total number of elements of these weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def made_trainable(layer: Any) -> list[Any]:
    """Returns the weights that a layer and the layers inside it created as trainable, frozen now or not."""
    return [weight for part in layers_inside(layer) for weight in part._trainable_weights]


def attribute_at(item: Any, path: str) -> Any:
    """Returns the attribute of `item` at a dotted path; a number is a place in a list, as in cell.cells.0.kernel."""
    for name in path.split("."):
        item = item[int(name)] if name.isdigit() else getattr(item, name)
    return item


def part_of(layer: Any, path: str) -> tuple[Any, str]:
    """Returns the object inside `layer` that owns the weight at a dotted path, and the name of its attribute."""
    parents, _, name = path.rpartition(".")
    return attribute_at(layer, parents) if parents else layer, name


def weight_at(layer: Any, path: str) -> Any:
    """Returns the variable at a dotted path, in full precision."""
    return master_variable(attribute_at(layer, path))
